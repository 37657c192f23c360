"""Train the missing cells of an experiment, and return all of its cells.

An experiment is a list of parts. A part has the options of one adaptation and the protocols to
train. Every cell goes through ``adaptation.pipeline.adapt``, so it is recorded in MLflow, can be
resumed, and is not trained twice. A row in the results folder counts like a run in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.adaptation.pipeline import Begun, adapt
from workbench.adaptation.settings import Settings
from workbench.adaptation.source_network import check_network, given_weights
from workbench.adaptation.task import Task, resolve
from workbench.errors import (
    DomainError,
    NetworkError,
    SettingsError,
    WeightsError,
    check_once,
)
from workbench.experiments.engines.adaptations import Request, trained_ahead
from workbench.experiments.engines.cell_progress import CellLog
from workbench.experiments.engines.engine_settings import EngineSettings
from workbench.experiments.engines.engine_table import open_engine
from workbench.experiments.result_rows import (
    CELLS_FILE,
    Cell,
    cell_ids,
    check_results,
    read_cells,
    write_cells,
)
from workbench.experiments.run_rows import make_cell
from workbench.store.mlflow_store import Store
from workbench.training.progress import Display

#: Pages look for finished cells of at least this many seeds.
SEEDS_SHOWN = 20


@dataclass(frozen=True)
class Part:
    """The trainings of one adaptation in an experiment.

    Attributes:
        options: options of ``adapt``, without seeds and protocols.
        protocols: the protocols to train.
        seeds: the seeds to train with.
        label: the part's label on its page, besides the domain: a recipe, or a method or curve
            with the requested footprint.
    """

    options: Mapping[str, Any]
    protocols: tuple[str, ...]
    seeds: range
    label: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wish:
    """One requested cell.

    Attributes:
        part: its part.
        protocol, seed: its training in the part.
        cell: its id.
        source: text that identifies the source weights.
    """

    part: Part
    protocol: str
    seed: int
    cell: str
    source: str


Found = list[tuple[Wish, Cell]]


@dataclass
class Anew:
    """What a call with ``--fresh`` has trained, so that it trains nothing twice.

    Attributes:
        cells: ids of the cells.
        sources: texts that identify the source weights.
    """

    cells: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)


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
        CellsError: when cells failed on an engine; the rows of parts without failures are written.
        WorkbenchError: for anything that the user can correct; see ``errors``.
    """
    path = results / "data" / CELLS_FILE
    check_results(results)
    known = read_cells(path).keys()
    wishes = check_parts(parts)
    todo = [
        _Todo(part, names, seeds, [wish for wish in wishes if wish.part is part])
        for part, names, seeds in _missing(wishes, known if anew is None else known & anew.cells)
    ]
    log = CellLog()
    with _trained_ahead(todo, engine, anew, display or Display(), log) as runs:
        for each, begun in runs:
            cells = _run(each, begun, anew, display)
            write_cells(path, cells)
            if anew is not None:
                anew.cells.update(cell.cell for cell in cells)
                anew.sources.add(each.source)
    log.check()


@dataclass(frozen=True)
class _Todo:
    """One call of ``adapt``: the missing protocols and seeds of a part.

    Attributes:
        wishes: all requested cells of the part.
    """

    part: Part
    names: tuple[str, ...]
    seeds: range
    wishes: Sequence[Wish]

    @property
    def source(self) -> str:
        """Text that identifies the source weights."""
        return self.wishes[0].source

    def options(self, anew: Anew | None) -> dict[str, Any]:
        """The options of ``adapt``."""
        return {
            "keep_weights": "none",
            **self.part.options,
            "protocols": self.names,
            "seeds": len(self.seeds),
            "first_seed": self.seeds[0],
            "fresh": anew is not None,
        }

    def fresh_source(self, anew: Anew | None) -> bool:
        """Whether the source network is trained again."""
        return anew is not None and self.source not in anew.sources


@contextmanager
def _trained_ahead(
    todo: Sequence[_Todo],
    engine: EngineSettings | None,
    anew: Anew | None,
    display: Display,
    log: CellLog,
) -> Iterator[list[tuple[_Todo, Begun | None]]]:
    """The calls of ``adapt`` that are left, with their runs if an engine has done the trainings.

    An engine leaves out calls of which a cell failed.
    """
    if engine is None or not todo:
        yield [(each, None) for each in todo]
        return
    requests = [Request(each.options(anew), each.fresh_source(anew)) for each in todo]
    with (
        open_engine(engine, todo[0].part.options) as opened,
        trained_ahead(requests, opened, display, log) as runs,
    ):
        yield [(each, begun) for each, begun in zip(todo, runs, strict=True) if begun]


def _run(
    todo: _Todo, begun: Begun | None, anew: Anew | None, display: Display | None
) -> list[Cell]:
    """Call ``adapt`` and return the rows of its trainings."""
    done = adapt(
        display=display,
        fresh_source=todo.fresh_source(anew),
        begun=begun,
        **todo.options(anew),
    )
    ids = {(wish.protocol, wish.seed): wish.cell for wish in todo.wishes}
    store = Store(todo.part.options.get("tracking_uri"))
    return [
        make_cell(store, store.run(run_id), ids[result.protocol, seed])
        for result in done.protocols
        if result.protocol in todo.names  # adapt may add the untrained source
        for seed, run_id in zip(todo.seeds, result.run_ids, strict=True)
    ]


def check_parts(parts: Sequence[Part]) -> list[Wish]:
    """Check the options of all parts, and return every requested cell with its id.

    Raises:
        SettingsError: with the problems of all parts together.
    """
    wishes, problems = _resolve(parts)
    if problems:
        raise SettingsError(*problems)
    return wishes


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


def _resolve(parts: Sequence[Part]) -> tuple[list[Wish], list[str]]:
    """Every cell of the parts that can be trained, and the problems of the other parts."""
    fingerprints: dict[tuple[str, str], str] = {}
    found: list[Wish] = []
    problems: list[str] = []
    for part in parts:
        try:
            task = resolve(Settings.of(**part.options))
            check_network(task)
            source = _source_weights(task, fingerprints)
        except (SettingsError, DomainError, NetworkError, WeightsError) as error:
            problems += error.problems
            continue
        ids = cell_ids(task, part.protocols, part.seeds, source)
        found += [Wish(part, *which, cell, source) for which, cell in ids.items()]
    return found, list(dict.fromkeys(problems))


def _source_weights(task: Task, known: dict[tuple[str, str], str]) -> str:
    """Text that identifies the source weights: their fingerprint, or their training plan."""
    if task.settings.what.weights is None:
        return f"trained here: {task.source_plan.parts()}"
    place = (str(task.settings.what.weights), task.model)
    if place not in known:
        given = given_weights(task)
        known[place] = given.fingerprint if given else ""
    return known[place]


def _missing(
    wishes: Iterable[Wish], known: Collection[str]
) -> Iterator[tuple[Part, tuple[str, ...], range]]:
    """Parts, protocols and consecutive seeds of missing cells, for one call of ``adapt`` each."""
    parts: dict[int, tuple[Part, dict[int, tuple[str, ...]]]] = {}
    asked: set[str] = set()
    for wish in wishes:
        if wish.cell not in known and wish.cell not in asked:
            asked.add(wish.cell)
            _, lacking = parts.setdefault(id(wish.part), (wish.part, {}))
            lacking[wish.seed] = (*lacking.get(wish.seed, ()), wish.protocol)
    for part, lacking in parts.values():
        start = None
        for seed in sorted(lacking):
            start = seed if start is None else start
            if lacking.get(seed + 1) != lacking[seed]:
                yield part, lacking[seed], range(start, seed + 1)
                start = None
