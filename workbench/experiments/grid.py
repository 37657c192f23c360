"""Train the missing cells of an experiment, and return all of its cells.

An experiment is a list of parts. A part has the options of one adaptation and the protocols to
train. Every cell goes through ``adaptation.pipeline.adapt``, so it is recorded in MLflow, can be
resumed, and is not trained twice. A row in the results folder counts like a run in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from pathlib import Path

from workbench.adaptation.pipeline import adapt, finish
from workbench.adaptation.settings import Settings
from workbench.adaptation.tasks.smallest_network import check_smallest
from workbench.adaptation.tasks.source_network import check_network, given_weights
from workbench.adaptation.tasks.task import Task, resolve
from workbench.errors import (
    DomainError,
    NetworkError,
    SettingsError,
    WeightsError,
    WorkbenchError,
    check_once,
)
from workbench.experiments.engines.adaptations import Request, Trained, trained_ahead
from workbench.experiments.engines.cell_progress import CellLog
from workbench.experiments.engines.engine_settings import EngineSettings
from workbench.experiments.engines.engine_table import open_engine
from workbench.experiments.requested_cells import (
    Anew,
    Call,
    Found,
    Part,
    Wish,
    missing_calls,
    planned_calls,
)
from workbench.experiments.result_rows import (
    CELLS_FILE,
    Cell,
    cell_ids,
    check_results,
    read_cells,
    write_cells,
)
from workbench.experiments.run_rows import make_cell
from workbench.reporting.results import Adaptation
from workbench.store.mlflow_store import Store
from workbench.training.progress import Display
from workbench.training.time_left import TRAINING, PlannedStep

#: Pages look for finished cells of at least this many seeds.
SEEDS_SHOWN = 20


def run_parts(
    parts: Sequence[Part],
    results: Path,
    *,
    anew: Anew | None = None,
    display: Display | None = None,
    engine: EngineSettings | None = None,
) -> None:
    """Train the missing cells of an experiment, and write their rows.

    Args:
        parts: the experiment; the options of all parts are checked before any training.
        results: folder whose ``data/cells.csv`` is read and written.
        anew: with ``--fresh``, what this call has already trained. Everything else is trained
            again and added to it. With None, only cells without a row are trained.
        display: shows the progress.
        engine: runs all trainings as cells in other processes; None runs them in this one.

    Raises:
        CellsError: when cells failed on an engine; the rows of calls without failures are written.
        WorkbenchError: for anything that the user can correct; see ``errors``.
    """
    path = results / "data" / CELLS_FILE
    check_results(results)
    known = read_cells(path).keys()
    display = display or Display()
    wishes = check_parts(parts)
    calls = missing_calls(wishes, known if anew is None else known & anew.cells)
    steps = planned_calls(wishes, calls) if display.is_watched else []
    if engine is not None and calls:
        _train_on_engine(engine, calls, steps, anew, display, path)
        return
    with display.plan(steps) as plan:
        for call in calls:
            with plan.step():
                done = adapt(
                    display=display,
                    fresh_source=call.fresh_source(anew),
                    store_report=False,  # a grid has hundreds of adaptations and pages of its own
                    **call.options(anew),
                )
                store = Store(call.part.options.get("tracking_uri"))
                write_cells(path, _rows(call, done, store, anew))


def _train_on_engine(
    engine: EngineSettings,
    calls: Sequence[Call],
    steps: Sequence[PlannedStep],
    anew: Anew | None,
    display: Display,
    path: Path,
) -> None:
    """Train the calls as cells; write the rows of each call when its cells are recorded.

    An error in one call must not end the cells of the others. So the call is finished again when
    all cells have ended, and the error is raised then.
    """
    requests = [Request(call.options(anew), call.fresh_source(anew)) for call in calls]
    work, recorded = sum(step.to_do for step in steps), sum(step.recorded for step in steps)
    log = CellLog()

    def write(one: Trained) -> None:
        call = calls[one.place]
        done, store = finish(one.begun, store_report=False), one.begun.prepared.recorder.store
        write_cells(path, _rows(call, done, store, anew))

    with (
        display.plan([PlannedStep("trainings", {TRAINING: work}, recorded)]) as whole,
        whole.step(),
        open_engine(engine, calls[0].part.options) as opened,
        trained_ahead(requests, opened, display, log) as trained,
    ):
        again = []
        for one in trained:
            try:
                write(one)
            except WorkbenchError as error:
                title = calls[one.place].title
                display.say(f"warning: {title}: {error}; it is finished again after all cells")
                again.append(one)
        for one in again:
            write(one)
    log.check()


def _rows(call: Call, done: Adaptation, store: Store, anew: Anew | None) -> list[Cell]:
    """The rows of an adaptation's trainings, which are noted in ``anew``."""
    ids = call.cells
    cells = [
        make_cell(store, store.run(run_id), ids[result.protocol, seed])
        for result in done.protocols
        if result.protocol in call.protocols  # adapt may add the untrained source
        for seed, run_id in zip(call.seeds, result.run_ids, strict=True)
    ]
    if anew is not None:
        anew.cells.update(cell.cell for cell in cells)
        anew.sources.add(call.source)
    return cells


def planned_work(parts: Sequence[Part], results: Path, anew: Anew | None) -> float:
    """Work of the missing cells in FLOPs, for the estimate of the time left."""
    known = read_cells(results / "data" / CELLS_FILE).keys() if anew is None else set()
    steps = planned_calls([], missing_calls(check_parts(parts), known))
    return sum(step.to_do for step in steps)


def check_parts(parts: Sequence[Part]) -> list[Wish]:
    """Check the options of all parts, and return every requested cell with its id.

    Raises:
        SettingsError: with the problems of all parts together.
    """
    wishes, problems = _resolve(parts)
    if problems:
        raise SettingsError(*dict.fromkeys(line for lines in problems.values() for line in lines))
    return wishes


def problems_of(parts: Sequence[Part]) -> dict[tuple[str, ...], list[str]]:
    """The problems of the parts that cannot be trained, by the label of the part."""
    return _resolve(parts)[1]


def known_cells(parts: Sequence[Part], results: Path) -> Found:
    """The requested cells that are finished, on any machine, each once, in the parts' order.

    Parts that cannot be trained are skipped, because a page looks for more than was requested.
    """
    known = read_cells(results / "data" / CELLS_FILE)
    wishes = {wish.cell: wish for wish in reversed(_resolve(parts)[0])}
    return [(wish, known[cell]) for cell, wish in reversed(wishes.items()) if cell in known]


def of_shared_seeds(
    found: Found,
    network_of: Callable[[Wish], Hashable],
    required: Collection[Hashable] = (),
    asked: Collection[int] = (),
) -> Found:
    """The cells of the seeds that all networks of a domain have.

    Comparisons then have equal n and can be paired by seed; rows of other calls may have more
    seeds of one network.

    Args:
        found: the finished cells.
        network_of: returns a key that identifies a network within a domain.
        required: networks; a domain without one of these is skipped.
        asked: seeds; a network without one of these is skipped.
    """
    seeds: dict[str, dict[Hashable, set[int]]] = {}
    for wish, cell in found:
        networks = seeds.setdefault(cell.domain, {name: set() for name in required})
        networks.setdefault(network_of(wish), set()).add(cell.seed)
    whole = {
        domain: {name: own for name, own in networks.items() if own.issuperset(asked)}
        for domain, networks in seeds.items()
    }
    shared = {domain: set.intersection(*own.values()) for domain, own in whole.items() if own}
    return [
        (wish, cell)
        for wish, cell in found
        if network_of(wish) in whole[cell.domain] and cell.seed in shared[cell.domain]
    ]


def shown_seeds(asked: range) -> range:
    """The seeds for which a page looks for finished cells."""
    return range(max(SEEDS_SHOWN, asked.stop))


def check_shares(option: str, shares: Sequence[str], names: Sequence[str] = ()) -> list[str]:
    """One line for each invalid footprint, or else for each repeated one.

    Args:
        option: name of the option, for messages.
        shares: the footprints.
        names: names that are allowed instead of a share.
    """
    values = [text if text in names else _share(text) for text in shares]
    return [
        f"{option} {text}: is not a share in (0, 1]; try 0.25"
        for text, value in zip(shares, values, strict=True)
        if value is None
    ] or check_once(option, values)


def _share(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value <= 1 else None


def _resolve(parts: Sequence[Part]) -> tuple[list[Wish], dict[tuple[str, ...], list[str]]]:
    """Every cell of the parts that can be trained, and the problems of the others by label."""
    fingerprints: dict[tuple[str, str], str] = {}
    found: list[Wish] = []
    problems: dict[tuple[str, ...], list[str]] = {}
    for part in parts:
        try:
            task = resolve(Settings.of(**part.options))
            check_network(task)
            check_smallest(task)
            source = _source_weights(task, fingerprints)
        except (SettingsError, DomainError, NetworkError, WeightsError) as error:
            problems.setdefault(part.label, []).extend(error.problems)
            continue
        ids = cell_ids(task, part.protocols, part.seeds, source)
        found += [Wish(part, *which, cell, source) for which, cell in ids.items()]
    return found, problems


def _source_weights(task: Task, known: dict[tuple[str, str], str]) -> str:
    """Text that identifies the source weights: their fingerprint, or their training plan."""
    if task.settings.what.weights is None:
        return f"trained here: {task.source_plan.parts()}"
    place = (str(task.settings.what.weights), task.model)
    if place not in known:
        given = given_weights(task)
        known[place] = given.fingerprint if given else ""
    return known[place]
