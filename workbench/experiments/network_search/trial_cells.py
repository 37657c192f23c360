"""Trials as cells: what a search hands to an engine, and what a cell's process does with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from workbench.adaptation.preparation import Prepared
from workbench.adaptation.single_steps import Check, StepRun
from workbench.adaptation.trainings.source_training import train_source
from workbench.experiments.engines.cell_progress import CellLog, run_wave
from workbench.experiments.engines.cells import TRIAL, Cell
from workbench.experiments.engines.engine_table import OpenEngine
from workbench.experiments.engines.waves import expected_data, portable_options
from workbench.experiments.network_search.candidates import Candidate
from workbench.experiments.network_search.search_settings import SearchSettings
from workbench.experiments.network_search.trials import Trials, Wish


@dataclass(frozen=True)
class TrialRunner:
    """Runs missing trials of a search on an engine, before the search asks for them one by one."""

    engine: OpenEngine

    def run(self, trials: Trials, wishes: Sequence[Wish]) -> None:
        """Run trials that do not depend on each other.

        Raises:
            CellsError: when one failed; the others are recorded.
        """
        missing = [wish for wish in wishes if not trials.is_recorded(*wish)]
        cells = {cell.identity: cell for cell in (_cell(trials, wish) for wish in missing)}
        if not cells:
            return

        def work() -> float:
            return sum(trials.work(candidate, epochs) for candidate, epochs, _ in missing)

        display, log = trials.prepared.recorder.display, CellLog()
        title = f"trials ({self.engine.settings.engine})"
        with display.track(title, len(cells), work) as advance:
            run_wave(list(cells.values()), self.engine, log, display, advance)
        log.check()


def _cell(trials: Trials, wish: Wish) -> Cell:
    candidate, epochs, seed = wish
    prepared, search = trials.prepared, trials.search
    return Cell(
        kind=TRIAL,
        options=portable_options(trials.options, prepared.call, prepared.recorder),
        seed=seed,
        trial={
            **asdict(candidate),
            "epochs": epochs,
            "cost": search.cost,
            "runtime": search.runtime,
        },
        parent=trials.parent,
        key=trials.key(candidate, epochs, seed),
        data=expected_data(prepared),
        processor=asdict(prepared.call.processor),
    )


def _candidate(cell: Cell) -> tuple[Candidate, SearchSettings]:
    assert cell.trial is not None
    values = cell.trial
    search = SearchSettings.of(cost=values["cost"], runtime=values["runtime"])
    # Cells that an earlier version has queued do not name the selection.
    names = (values["method"], values["protocol"], values.get("selection", ""))
    return Candidate(float(values["share"]), *names), search


def trial_options(cell: Cell) -> dict[str, Any]:
    """The options of ``adapt`` that a trial's candidate adds to those of its cell."""
    candidate, search = _candidate(cell)
    return candidate.options(search.budget)


def run_trial(cell: Cell, prepared: Prepared, check: Check) -> StepRun:
    """Train a candidate in a cell's process, or find its recorded training."""
    assert cell.trial is not None
    candidate, search = _candidate(cell)
    recorder = prepared.recorder
    source = prepared.call.given or train_source(
        prepared.call.task, prepared.call.processor, replace(recorder, fresh=False)
    )
    trials = Trials(prepared, source, dict(cell.options), search, cell.parent)
    epochs = int(cell.trial["epochs"])
    key = trials.key(candidate, epochs, cell.seed)
    check(key)
    trial = trials.train(candidate, epochs, cell.seed)
    return StepRun(key, recorder.store.run(trial.run_id), trial.new)
