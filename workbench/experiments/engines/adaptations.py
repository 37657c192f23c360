"""Adaptations whose cells run in processes of their own, in waves.

``trained_ahead`` runs the cells and hands over each adaptation when all of its cells are recorded.
The caller then calls ``adaptation.pipeline.finish``, which does the rest: the untrained networks,
the stages and the verdict. In the meantime, the engine continues with the cells of the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from workbench.adaptation.pipeline import Begun, begin, finish
from workbench.adaptation.preparation import Prepared, prepare
from workbench.adaptation.steps.recorded_steps import StepState
from workbench.adaptation.steps.step_work import guessed_sizes, planned_steps
from workbench.errors import WorkbenchError
from workbench.experiments.engines.cell_progress import CellLog, running_wave
from workbench.experiments.engines.engine_settings import EngineSettings
from workbench.experiments.engines.engine_table import OpenEngine, open_engine
from workbench.experiments.engines.waves import (
    Adapting,
    known_states,
    lacking_states,
    next_wave,
    portable_options,
)
from workbench.reporting.results import Adaptation
from workbench.store.runs import FAILED, INTERRUPTED, KILLED, RUNNING
from workbench.training.progress import Display
from workbench.training.time_left import STAGE, TRAINING, PlannedStep


@dataclass(frozen=True)
class Request:
    """One adaptation: its options, and whether ``fresh`` also trains its source network again."""

    options: Mapping[str, Any]
    fresh_source: bool = True


def adapt_on_engine(
    settings: EngineSettings, *, display: Display | None = None, **options: Any
) -> Adaptation:
    """``adapt`` with its trainings in processes of their own.

    Args:
        display: shows progress and messages; None shows nothing.
        **options: as for ``adapt``.

    Raises:
        CellsError: when cells failed; the others are recorded.
        WorkbenchError: for every error that the user can fix; see ``workbench.errors``.
    """
    display = display or Display()
    with open_engine(settings, options) as engine:
        return adapt_with(engine, display, options)


def adapt_with(
    engine: OpenEngine,
    display: Display,
    options: Mapping[str, Any],
    *,
    fresh_source: bool = True,
    store_report: bool = True,
) -> Adaptation:
    """The same on an open engine."""
    log = CellLog()
    with trained_ahead([Request(options, fresh_source)], engine, display, log) as trained:
        done = [finish(one.begun, store_report=store_report) for one in trained]
    log.check()
    (found,) = done
    return replace(found, trained=found.trained + len(log.finished))


@dataclass(frozen=True)
class Trained:
    """An adaptation whose cells are recorded.

    Attributes:
        place: of its request.
    """

    place: int
    begun: Begun


@contextmanager
def trained_ahead(
    requests: Sequence[Request], engine: OpenEngine, display: Display, log: CellLog
) -> Iterator[Iterator[Trained]]:
    """Run all cells of several adaptations that are not done.

    The iterator has each adaptation of which no cell failed, once, as soon as its cells are
    recorded. The caller finishes it before it takes the next one. Those with stages come after all
    cells, because stages are timed. So do those that are complete while a latency is measured.

    Args:
        log: receives how the cells ended.

    Raises:
        WorkbenchError: when options or data are wrong; no cell is started then.
    """
    prepared: list[Prepared] = []
    for each in requests:
        prepared.append(prepare(dict(each.options), display, before=prepared))
    with _opened(prepared) as runs:
        every = [
            Adapting(
                begun, portable_options(request.options, one.call, one.recorder),
                request.fresh_source,
            )
            for request, one, begun in zip(requests, prepared, runs, strict=True)
        ]  # fmt: skip
        with closing(_trained(every, engine, display, log)) as trained:
            yield trained


def _trained(
    every: Sequence[Adapting], engine: OpenEngine, display: Display, log: CellLog
) -> Generator[Trained, None, None]:
    left = dict(enumerate(every))
    states = [known_states(one, log.finished) for one in every]
    lacking = {place: lacking_states(own) for place, own in enumerate(states)}
    steps = _planned(every, states) if display.is_watched else []
    with display.plan(steps) as plan:
        with plan.step():
            work = sum(step.to_do for step in steps[:1])
            for place in _during_cells(left, lacking, engine, display, log, work):
                yield Trained(place, left.pop(place).begun)
        _end_failed([left[place] for place in left if lacking[place]], log)
        plan.revise(lambda: [steps[0], *(steps[place + 1] for place in left)])
        for place, one in left.items():
            with plan.step():
                if not lacking[place]:
                    yield Trained(place, one.begun)


def _planned(every: Sequence[Adapting], states: Sequence[Sequence[StepState]]) -> list[PlannedStep]:
    """One step for all cells, and one for what is left of each adaptation after them."""
    sources: set[str | None] = set()
    cells = recorded = 0.0
    rest = []
    for one, found in zip(every, states, strict=True):
        own = [state for state in found if state.step.kind != "source" or state.key not in sources]
        sources |= {state.key for state in found if state.step.kind == "source"}
        loaded = one.prepared.loaded
        steps = planned_steps(loaded, own, guessed_sizes(loaded.task))
        after = sum(step.work.get(STAGE, 0.0) for step in steps)
        cells += sum(step.to_do for step in steps) - after
        recorded += sum(step.recorded for step in steps)
        rest.append(PlannedStep(loaded.task.title, {STAGE: after}))
    return [PlannedStep("cells", {TRAINING: cells}, recorded), *rest]


def _end_failed(failed: Iterable[Adapting], log: CellLog) -> None:
    """End the runs of adaptations of which a cell failed."""
    reason = f"cells failed: {'; '.join(log.failures.values())}"
    for one in failed:
        if not one.begun.finished:
            one.prepared.recorder.store.end(one.begun.run_id, FAILED, reason)


@contextmanager
def _opened(prepared: Sequence[Prepared]) -> Iterator[list[Begun]]:
    """Open the runs of adaptations; an error or an interruption in the block ends them."""
    runs: list[Begun] = []
    try:
        runs += [begin(one) for one in prepared]
        yield runs
    except BaseException as error:
        killed = isinstance(error, (KeyboardInterrupt, SystemExit))
        status, reason = (KILLED, INTERRUPTED) if killed else (FAILED, str(error))
        for one, begun in zip(prepared, runs, strict=False):
            store = one.recorder.store
            with suppress(WorkbenchError):
                if not begun.finished and store.run(begun.run_id).status == RUNNING:
                    store.end(begun.run_id, status, reason)
        raise


def _during_cells(
    left: Mapping[int, Adapting],
    lacking: dict[int, list[StepState]],
    engine: OpenEngine,
    display: Display,
    log: CellLog,
    work: float,
) -> Iterator[int]:
    """Run waves until no cell can run; yield adaptations that can be finished in the meantime.

    Args:
        left: the adaptations by their places; the caller removes those that were yielded.
        lacking: their steps to do; it is kept up to date.
        work: of all cells, in FLOPs; for the progress, each cell has an equal share of it.
    """
    total = _count(left, lacking)
    if not total:
        return
    complete = deque(place for place in left if _is_complete(left[place], lacking[place]))
    with display.track(f"cells ({engine.settings.engine})", total, lambda: work) as advance:
        while wave := next_wave(left, lacking, log):
            with running_wave(wave.cells, engine, log, display, advance) as reports:
                for cell in reports:
                    for place in wave.end(cell) if cell else ():
                        lacking[place] = lacking_states(known_states(left[place], log.finished))
                        if _is_complete(left[place], lacking[place]):
                            complete.append(place)
                    if complete and not wave.is_timed:
                        with display.aside():
                            yield complete.popleft()


def _is_complete(one: Adapting, lacking: Sequence[StepState]) -> bool:
    """Whether an adaptation can be finished while cells run: its stages would be timed."""
    return not lacking and not one.prepared.call.task.settings.deployment.stages


def _count(every: Mapping[int, Adapting], lacking: Mapping[int, Sequence[StepState]]) -> int:
    """The number of cells to run, as far as it is known; equal ones count once."""
    return len(
        {
            state.key or f"{every[place].begun.run_id} {state.title}"
            for place, states in lacking.items()
            for state in states
        }
    )
