"""Train the missing cells of an experiment, and return all of its cells.

An experiment is a list of parts. A part has the options of one adaptation and the protocols to
train. Every cell goes through ``adaptation.pipeline.adapt``, so it is recorded in MLflow, can be
resumed, and is not trained twice. A row in the results folder counts like a run in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.adaptation.pipeline import adapt
from workbench.adaptation.settings import Settings
from workbench.adaptation.source_network import check_network, given_weights
from workbench.adaptation.task import Task, resolve
from workbench.errors import (
    DamagedRunError,
    DomainError,
    NetworkError,
    SettingsError,
    WeightsError,
    check_once,
)
from workbench.experiments.result_rows import (
    CELLS_FILE,
    Cell,
    cell_ids,
    check_results,
    read_cells,
    write_cells,
)
from workbench.reporting.tables import method_label
from workbench.store.mlflow_store import Store
from workbench.store.run_tags import COMMIT, KEY, MACHINE, PYTHON, VERSION
from workbench.store.runs import StoredRun
from workbench.store.stored_results import stored_filters
from workbench.training.progress import Display
from workbench.training.protocols import PROTOCOLS

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
) -> None:
    """Train the missing cells of an experiment, and write their rows as they finish.

    Args:
        parts: the experiment; the options of all parts are checked before any training.
        results: folder whose ``data/cells.csv`` is read and written.
        anew: with ``--fresh``, what this call has already trained. Everything else is trained
            again and added to it. With None, only cells without a row are trained.
        display: shows the progress.

    Raises:
        WorkbenchError: for anything that the user can correct; see ``errors``.
    """
    path = results / "data" / CELLS_FILE
    check_results(results)
    known = read_cells(path).keys()
    wishes = check_parts(parts)
    for part, names, seeds in _missing(wishes, known if anew is None else known & anew.cells):
        own = {(wish.protocol, wish.seed): wish for wish in wishes if wish.part is part}
        source = own[names[0], seeds[0]].source
        done = adapt(
            display=display,
            keep_weights="none",
            **part.options,
            protocols=names,
            seeds=len(seeds),
            first_seed=seeds[0],
            fresh=anew is not None,
            fresh_source=anew is not None and source not in anew.sources,
        )
        store = Store(part.options.get("tracking_uri"))
        cells = [
            make_cell(store, store.run(run_id), own[result.protocol, seed].cell)
            for result in done.protocols
            if result.protocol in names  # adapt may add the untrained source
            for seed, run_id in zip(seeds, result.run_ids, strict=True)
        ]
        write_cells(path, cells)
        if anew is not None:
            anew.cells.update(cell.cell for cell in cells)
            anew.sources.add(source)


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


def make_cell(store: Store, run: StoredRun, cell: str) -> Cell:
    """Make the row of a finished training.

    Raises:
        DamagedRunError: when a value of the run is missing or invalid.
    """
    try:
        return _cell_of(store, run, cell)
    except (KeyError, ValueError) as error:
        what = f"has no {error.args[0]}" if isinstance(error, KeyError) else f"is damaged: {error}"
        raise DamagedRunError(
            f"run '{run.run_id}' {what}; run the same command with --fresh"
        ) from None


def _cell_of(store: Store, run: StoredRun, cell: str) -> Cell:
    params, metrics = run.params, run.metrics
    top_hits = metrics.get("test_top5_hits")
    compressed = PROTOCOLS[params["protocol"]].compressed
    kept = stored_filters(store, run) if compressed else ()
    return Cell(
        cell=cell,
        key=run.tags[KEY],
        source=params["source"],
        domain=params["domain"],
        model=params["model"],
        method=method_label(params),
        protocol=params["protocol"],
        seed=int(params["seed"]),
        epochs=int(params["epochs"]),
        schedule=params["schedule"],
        learning_rate=float(params["learning_rate"]),
        batch_size=int(params["batch_size"]),
        weight_decay=float(params["weight_decay"]),
        head=params.get("head", ""),
        temperature=params.get("temperature", ""),
        distill_weight=params.get("distill_weight", ""),
        weights=params.get("source_weights", ""),
        hits=round(metrics["test_hits"]),
        top_hits=None if top_hits is None else round(top_hits),
        images=round(metrics["test_images"]),
        parameters=round(metrics["parameters"]),
        footprint=round(metrics["footprint"], 6),
        flops=round(metrics["flops"]),
        flops_ratio=round(metrics["flops_ratio"], 6),
        latency_ms=metrics["latency_ms"],
        filters=" ".join(str(count) for _, count in kept),
        train_seconds=round(metrics["train_seconds"], 1),
        device=params["device"],
        precision=params["precision"],
        threads=int(params["threads"]),
        machine=run.tags.get(MACHINE, ""),
        torch=params["torch"],
        version=run.tags.get(VERSION, ""),
        commit=_short(run.tags.get(COMMIT, "")),
        run_id=run.run_id,
        python=run.tags.get(PYTHON, ""),
        date=run.started,
    )


def _short(commit: str) -> str:
    """Twelve digits of a commit's hash, with its suffix "-dirty" if any."""
    digits, dash, state = commit.partition("-")
    return f"{digits[:12]}{dash}{state}"


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
