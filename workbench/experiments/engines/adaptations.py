"""Adaptations whose cells run in processes of their own, in waves.

The trainings of all adaptations are run as cells first. ``adaptation.pipeline.adapt`` then finds
them recorded and does the rest: the untrained networks, the stages and the verdict.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from workbench.adaptation.pipeline import Begun, adapt, begin
from workbench.adaptation.preparation import Prepared, prepare
from workbench.adaptation.step_work import guessed_sizes, planned_steps
from workbench.data.image_batches import ImageSet
from workbench.errors import WorkbenchError
from workbench.experiments.engines.cell_progress import CellLog, run_wave
from workbench.experiments.engines.cells import Cell
from workbench.experiments.engines.engine_settings import EngineSettings
from workbench.experiments.engines.engine_table import OpenEngine, open_engine
from workbench.experiments.engines.waves import (
    Adapting,
    known_states,
    lacking_states,
    portable_options,
    ready_cells,
)
from workbench.reporting.results import Adaptation
from workbench.store.runs import FAILED, KILLED, RUNNING
from workbench.training.progress import Display, Plan
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
    with trained_ahead([Request(options, fresh_source)], engine, display, log) as ahead:
        log.check()
        (begun,) = ahead.runs
        with ahead.plan.step():
            done = adapt(
                display=display,
                fresh_source=fresh_source,
                store_report=store_report,
                begun=begun,
                **options,
            )
    return replace(done, trained=done.trained + len(log.finished))


@dataclass(frozen=True)
class TrainedAhead:
    """Adaptations whose cells were run.

    Attributes:
        runs: the open run of each adaptation; None for one of which a cell failed.
        plan: its next steps are those of the adaptations, in order.
    """

    runs: Sequence[Begun | None]
    plan: Plan


@contextmanager
def trained_ahead(
    requests: Sequence[Request], engine: OpenEngine, display: Display, log: CellLog
) -> Iterator[TrainedAhead]:
    """Run all cells of several adaptations that are not done; ``adapt`` follows in the block.

    Args:
        log: receives how the cells ended.

    Raises:
        WorkbenchError: when options or data are wrong; no cell is started then.
    """
    images: dict[tuple[str, str], tuple[ImageSet, ImageSet]] = {}
    prepared = [_shared(prepare(dict(each.options), display), images) for each in requests]
    with _opened(prepared) as runs:
        every = [
            Adapting(
                one,
                begun,
                portable_options(request.options, one.call, one.recorder),
                request.fresh_source,
            )
            for request, one, begun in zip(requests, prepared, runs, strict=True)
        ]
        steps = _planned(every) if display.is_watched else []
        with display.plan(steps) as plan:
            with plan.step():
                work = sum(step.to_do for step in steps[:1])
                failed = _run_waves(every, engine, display, log, work)
            _end_failed(every, failed, log)
            done = [None if begun.run_id in failed else begun for begun in runs]
            yield TrainedAhead(done, plan)


def _planned(every: Sequence[Adapting]) -> list[PlannedStep]:
    """One step for all cells, and one for what is left of each adaptation after them."""
    sources: set[str | None] = set()
    cells = recorded = 0.0
    rest = []
    for one in every:
        states = known_states(one, ())
        own = [state for state in states if state.step.kind != "source" or state.key not in sources]
        sources |= {state.key for state in states if state.step.kind == "source"}
        loaded = one.prepared.loaded
        steps = planned_steps(loaded, own, guessed_sizes(loaded.task))
        after = sum(step.work.get(STAGE, 0.0) for step in steps)
        cells += sum(step.to_do for step in steps) - after
        recorded += sum(step.recorded for step in steps)
        rest.append(PlannedStep(loaded.task.title, {STAGE: after}))
    return [PlannedStep("cells", {TRAINING: cells}, recorded), *rest]


def _end_failed(every: Sequence[Adapting], failed: Collection[str], log: CellLog) -> None:
    """End the runs of adaptations of which a cell failed."""
    reason = f"cells failed: {'; '.join(log.failures.values())}"
    for one in every:
        if one.begun.run_id in failed and not one.begun.finished:
            one.prepared.recorder.store.end(one.begun.run_id, FAILED, reason)


def _shared(
    prepared: Prepared, images: dict[tuple[str, str], tuple[ImageSet, ImageSet]]
) -> Prepared:
    """The same with images of an earlier adaptation if they are equal, to save memory."""
    loaded = prepared.loaded
    which = (loaded.train.fingerprint(), loaded.test.fingerprint())
    train, test = images.setdefault(which, (loaded.train, loaded.test))
    return replace(prepared, loaded=replace(loaded, train=train, test=test))


@contextmanager
def _opened(prepared: Sequence[Prepared]) -> Iterator[list[Begun]]:
    """Open the runs of adaptations; an error or an interruption in the block ends them."""
    runs: list[Begun] = []
    try:
        runs += [begin(one) for one in prepared]
        yield runs
    except BaseException as error:
        killed = isinstance(error, (KeyboardInterrupt, SystemExit))
        status, reason = (KILLED, "interrupted by the user") if killed else (FAILED, str(error))
        for one, begun in zip(prepared, runs, strict=False):
            store = one.recorder.store
            with suppress(WorkbenchError):
                if not begun.finished and store.run(begun.run_id).status == RUNNING:
                    store.end(begun.run_id, status, reason)
        raise


def _run_waves(
    every: Sequence[Adapting], engine: OpenEngine, display: Display, log: CellLog, work: float
) -> set[str]:
    """Run waves until nothing is ready; return the run ids of adaptations that lack something.

    Args:
        work: of all cells, in FLOPs; for the progress, each cell has an equal share of it.
    """
    total = _count(every)
    if not total:
        return set()
    name = engine.settings.engine
    with display.track(f"cells ({name})", total, lambda: work) as advance:
        while True:
            wave: dict[str, Cell] = {}
            unfinished: set[str] = set()
            for one in every:
                lacking = lacking_states(one, log.finished)
                if lacking:
                    unfinished.add(one.begun.run_id)
                for cell in ready_cells(one, lacking, log.finished):
                    if cell.identity in log.finished and cell.identity not in log.failures:
                        log.fail(cell, _NOT_FOUND)
                    if cell.identity not in log.failures:
                        wave.setdefault(cell.identity, cell)
            if not wave:
                return unfinished
            run_wave(list(wave.values()), engine, log, display, advance)


_NOT_FOUND = (
    "it was done, but this machine does not find its files; the artifacts must be on a server "
    "('mlflow server --artifacts-destination') or in a shared folder"
)


def _count(every: Sequence[Adapting]) -> int:
    """The number of cells to run, as far as it is known; equal ones count once."""
    found: set[str] = set()
    for one in every:
        for state in lacking_states(one, ()):
            found.add(state.key or f"{one.begun.run_id} {state.title}")
    return len(found)
