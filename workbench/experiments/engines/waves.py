"""Which cells of adaptations can run now: those whose earlier steps are recorded.

The order is that of the steps: the source network, the gates, the analysis, the repair, then the
trainings without a teacher, the teachers, and the trainings that learn from them. The store, read
by the keys, shows what is done; there is no graph of tasks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from workbench.adaptation.pipeline import Begun
from workbench.adaptation.preparation import Call, Prepared
from workbench.adaptation.steps.recorded_steps import StepState, states_of
from workbench.data.catalog import SOURCES
from workbench.data.user_paths import user_path
from workbench.domains.search import is_packaged
from workbench.experiments.engines.cell_progress import CellLog
from workbench.experiments.engines.cells import Cell
from workbench.models.external_networks import DEFAULT_WEIGHTS
from workbench.store.recorder import Recorder
from workbench.training.protocols import TEACHER, TEACHER_SEED

_FIRST = ("source", "gates", "analysis", "repair")
_FOLDERS = ("weights", "data_dir", "domains", "recipe_file")
_NOT_FOUND = (
    "it was done, but this machine does not find its files; the artifacts must be on a server "
    "('mlflow server --artifacts-destination') or in a shared folder"
)


@dataclass(frozen=True)
class Adapting:
    """An adaptation whose cells are run.

    Attributes:
        begun: its open run, its images and its store.
        options: its options, as cells have them.
        fresh_source: whether ``fresh`` also trains the source network again.
    """

    begun: Begun
    options: Mapping[str, Any]
    fresh_source: bool

    @property
    def prepared(self) -> Prepared:
        """Its images and its store."""
        return self.begun.prepared

    def cell(self, kind: str, key: str | None = None, **fields: Any) -> Cell:
        """A cell of this adaptation."""
        return Cell(
            kind=kind,
            options=self.options,
            parent=None if kind == "source" else self.begun.run_id,
            key=key,
            data=expected_data(self.prepared),
            processor=asdict(self.prepared.call.processor),
            **fields,
        )


def known_states(one: Adapting, finished: Collection[str]) -> list[StepState]:
    """The states of all steps; those that cells do again because of ``fresh`` have no run.

    Args:
        finished: identities of the cells that this call has run; with ``fresh``, only they count.
    """
    call, recorder = one.prepared.call, replace(one.prepared.recorder, fresh=False)
    found = states_of(call, one.prepared.loaded, recorder, lambda line: None)
    return [
        state if not _is_cell(state) or _is_done(state, one, finished) else replace(state, run=None)
        for state in found
    ]


def lacking_states(states: Sequence[StepState]) -> list[StepState]:
    """The states of the steps that are not done and that a cell can do."""
    return [state for state in states if _is_cell(state) and not state.run]


def _is_cell(state: StepState) -> bool:
    protocol = state.step.protocol
    if state.step.kind == "protocol":  # an untrained network is only evaluated, by ``adapt``
        return protocol is not None and protocol.trained
    return state.step.kind in _FIRST


def _is_done(state: StepState, one: Adapting, finished: Collection[str]) -> bool:
    again = one.prepared.call.task.settings.record.fresh
    if state.step.kind == "source":
        again = again and one.fresh_source
    return state.run is not None and (not again or state.key in finished)


@dataclass(frozen=True)
class Wave:
    """Cells of several adaptations that do not depend on each other.

    Attributes:
        cells: those that measure latencies come first, because they run alone.
        waiting: identities of the cells that have not ended, by the place of an adaptation.
    """

    cells: Sequence[Cell]
    waiting: dict[int, set[str]]

    def end(self, cell: Cell) -> list[int]:
        """Note that a cell has ended; return the adaptations of which it was the last one."""
        places = [place for place, names in self.waiting.items() if cell.identity in names]
        for place in places:
            self.waiting[place].remove(cell.identity)
        ended = [place for place in places if not self.waiting[place]]
        for place in ended:
            del self.waiting[place]
        return ended

    @property
    def is_timed(self) -> bool:
        """Whether a cell that measures latencies has not ended."""
        left = set().union(*self.waiting.values())
        return any(cell.is_timed and cell.identity in left for cell in self.cells)


def next_wave(
    every: Mapping[int, Adapting], lacking: Mapping[int, Sequence[StepState]], log: CellLog
) -> Wave | None:
    """All cells that can run now; None if there are none.

    Args:
        every: adaptations by their places.
        lacking: their steps to do, from ``lacking_states``.
        log: what has run. A cell that ended well, but is not found, is noted as failed.
    """
    cells: dict[str, Cell] = {}
    waiting: dict[int, set[str]] = {}
    for place, one in every.items():
        for cell in ready_cells(one, lacking[place], log.finished):
            if cell.identity in log.finished and cell.identity not in log.failures:
                log.fail(cell, _NOT_FOUND)
            if cell.identity not in log.failures:
                cells.setdefault(cell.identity, cell)
                waiting.setdefault(place, set()).add(cell.identity)
    first = sorted(cells.values(), key=lambda cell: not cell.is_timed)
    return Wave(first, waiting) if cells else None


def ready_cells(
    one: Adapting, lacking: Sequence[StepState], finished: Collection[str]
) -> list[Cell]:
    """The cells that can run now.

    Args:
        lacking: from ``lacking_states``.
        finished: identities of the cells that this call has run.
    """
    for kind in _FIRST:
        for state in lacking:
            if state.step.kind == kind:
                return [one.cell(kind, state.key)]
    plain = [state for state in lacking if not _is_distilled(state)]
    distilled = [state for state in lacking if _is_distilled(state)]
    teacher = one.cell("teacher")
    needed = one.prepared.call.task.settings.training.has_teacher_runs
    if not distilled or not needed or teacher.identity in finished:
        return [_training(one, state) for state in (*plain, *distilled)]
    cells = [_training(one, state) for state in plain]
    own = any((cell.protocol, cell.seed) == (TEACHER, TEACHER_SEED) for cell in cells)
    return cells if own else [teacher, *cells]


def _is_distilled(state: StepState) -> bool:
    return state.step.protocol is not None and state.step.protocol.distilled


def _training(one: Adapting, state: StepState) -> Cell:
    assert state.step.protocol is not None
    name = state.step.protocol.name
    return one.cell("training", state.key, protocol=name, seed=state.seed or 0)


def expected_data(prepared: Prepared) -> dict[str, str]:
    """Fingerprints that the data on another machine must have."""
    given, data = prepared.call.given, prepared.loaded.data
    found = {name: data[name] for name in ("train", "test")}
    return {**found, "weights": given.fingerprint} if given else found


def portable_options(options: Mapping[str, Any], call: Call, recorder: Recorder) -> dict[str, Any]:
    """Options of ``adapt`` as JSON has them, valid in every folder and process.

    A data folder that the user did not name is that of each machine.
    """
    found = {name: _plain(name, value) for name, value in options.items() if value is not None}
    source = str(options["source"])
    if source not in SOURCES and call.task.trained_on.folder is not None:
        found["source"] = str(user_path(source).absolute())
        if options["target"] == options["source"]:
            found["target"] = found["source"]
    path = call.task.domain.path
    if path is not None and not is_packaged(path):
        found["domains"] = str(path.parent.absolute())
    return {
        **found,
        "tracking_uri": recorder.store.address,
        "output": str(recorder.work.folder.absolute()),
    }


def _plain(name: str, value: Any) -> Any:
    if name in _FOLDERS:
        text = str(value)
        return text if text == DEFAULT_WEIGHTS else str(user_path(value).absolute())
    if isinstance(value, (list, tuple)):
        return [str(each) for each in value]
    return str(value) if isinstance(value, Path) else value
