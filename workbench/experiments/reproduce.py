"""Reproduce the paper's figures and tables, and answer questions that it leaves open.

Each experiment is data: the parts to train, and a function that makes a page of the finished cells.
A page shows the finished cells of all its domains or methods with the same settings, not only
those of the current call. So an experiment can be run in parts and on several machines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from workbench.data.user_paths import user_path
from workbench.domains.search import find_domain
from workbench.errors import DomainError, SettingsError, check_once, did_you_mean
from workbench.experiments import figure1 as ablation
from workbench.experiments import figure4
from workbench.experiments import open_questions as beyond
from workbench.experiments import paper_tables as tables
from workbench.experiments.engines.engine_settings import EngineSettings
from workbench.experiments.grid import (
    check_shares,
    known_cells,
    of_shared_seeds,
    run_parts,
    shown_seeds,
)
from workbench.experiments.pages import Page, file_name, publish
from workbench.experiments.requested_cells import Anew, Found, Part
from workbench.experiments.result_rows import CELLS_FILE, Cell, read_cells
from workbench.experiments.settings import RESULTS
from workbench.training.progress import Display
from workbench.training.protocols import FOUR
from workbench.training.settings import check_seeds

_DRAWN = ("draws", "footprints")
_DISTILLED = ("temperature", "distill_weight")


@dataclass(frozen=True)
class Experiment:
    """One figure or table of the paper, or one question about it.

    Attributes:
        defaults: options of ``adapt`` as in the paper; the user's options take precedence.
        parts: makes the parts from the options, the requested names (domains or methods) and the
            seeds.
        names: the names for ``--domains`` or ``--methods``; other domains are also allowed.
        on_request: names for ``--methods`` that are trained only if the user names them.
        chosen_by: the option that selects among the names, "domains" or "methods".
        page: makes the page from a file name, the finished cells and the folder.
        compared: protocols that are compared in pairs of the same seed.
        extras: options that only this experiment has.
    """

    defaults: Mapping[str, Any]
    parts: Callable[[Mapping[str, Any], Sequence[str], range], list[Part]]
    names: tuple[str, ...]
    chosen_by: str
    page: Callable[[str, Found, Path], Page]
    compared: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    on_request: tuple[str, ...] = ()


EXPERIMENTS: dict[str, Experiment] = {
    "figure4": Experiment(
        figure4.PAPERS, figure4.parts, figure4.DOMAINS, "domains", figure4.page, FOUR
    ),
    "distillation": Experiment(
        figure4.PAPERS, beyond.DISTILLATION.parts, figure4.DOMAINS, "domains",
        beyond.DISTILLATION.page, beyond.DISTILLATION.protocols, _DISTILLED,
    ),
    "equal-compute": Experiment(
        figure4.PAPERS, beyond.EQUAL_COMPUTE.parts, figure4.DOMAINS, "domains",
        beyond.EQUAL_COMPUTE.page, beyond.EQUAL_COMPUTE.protocols,
    ),
    "figure1": Experiment(
        {"source": "cifar10", "model": "simplecnn"},
        ablation.parts, ablation.RECIPES, "methods", ablation.page, extras=_DRAWN,
    ),
    **{
        f"table{number}": Experiment(
            tables.DEFAULTS[number], partial(tables.parts, number), tables.methods(number),
            "methods", partial(tables.page, number), on_request=tables.rivals(number),
        )
        for number in tables.DEFAULTS
    },
}  # fmt: skip


def reproduce(
    name: str,
    *,
    domain_names: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: int = 1,
    first_seed: int = 0,
    results: Path = RESULTS,
    fresh: bool = False,
    command: Sequence[str] = (),
    display: Display | None = None,
    engine: EngineSettings | None = None,
    **options: Any,
) -> Path:
    """Train the missing cells of a figure or table, and write its page.

    Args:
        name: a name in ``EXPERIMENTS``.
        domain_names, methods: train only these; all of the experiment's when empty.
        seeds, first_seed: number of seeds and the first one.
        results: folder of pages, rows and figures.
        fresh: repeat finished trainings.
        command: the user's command, shown on the page.
        display: shows the progress.
        engine: runs the trainings in other processes.
        **options: options of ``adapt`` and the experiment's own options.

    Returns:
        The page's path.

    Raises:
        WorkbenchError: for anything that the user can correct; see ``errors``.
    """
    experiment = find_experiment(name)
    given = {option: value for option, value in options.items() if value is not None}
    problems = _problems(name, experiment, domain_names, methods, given)
    problems += check_seeds(seeds, first_seed)
    if problems:
        raise SettingsError(*problems)
    asked = range(first_seed, first_seed + seeds)
    names = tuple(domain_names or methods)
    wanted = {**experiment.defaults, **given}
    results = user_path(results)
    every = _shown(experiment, names, wanted, results)
    run_parts(
        experiment.parts(wanted, names or experiment.names, asked),
        results,
        anew=Anew() if fresh else None,
        display=display,
        engine=engine,
    )
    found = known_cells(experiment.parts(wanted, every, shown_seeds(asked)), results)
    if experiment.compared:
        found = of_shared_seeds(found, lambda wish: wish.protocol, experiment.compared)
    cells = [cell for _, cell in found]
    return publish(lambda: _page(name, experiment, found, results), cells, results, command)


def _page(name: str, experiment: Experiment, found: Found, folder: Path) -> Page:
    """Make the page; for another network or data set, it has another name and a warning."""
    cell = found[0][1]
    other = _not_the_papers(experiment, cell)
    page = experiment.page(file_name(name, *other), found, folder)
    if not other:
        return page
    paper = " on ".join(
        experiment.defaults[k] for k in ("model", "source") if k in experiment.defaults
    )
    warning = f"This is {cell.model} on {cell.source}; the paper uses {paper}."
    return replace(page, findings=[warning, *page.findings])


def _not_the_papers(experiment: Experiment, cell: Cell) -> list[str]:
    """Those of the network and the data set that differ from the paper's."""
    ours = {"model": cell.model, "source": cell.source}
    return [own for key, own in ours.items() if experiment.defaults.get(key, own) != own]


def _shown(
    experiment: Experiment, names: Sequence[str], options: Mapping[str, Any], results: Path
) -> tuple[str, ...]:
    """The experiment's own names, the requested names, and domains of earlier calls."""
    if experiment.chosen_by == "methods":
        return (*experiment.names, *experiment.on_request)
    own = experiment.names if options["source"] == experiment.defaults["source"] else ()
    rows = read_cells(results / "data" / CELLS_FILE).values()
    folder = user_path(options["domains"]) if "domains" in options else None
    source = Path(options["source"]).name
    earlier = dict.fromkeys(row.domain for row in rows if row.source == source)
    still = [domain for domain in earlier if _loads(domain, folder)]
    return tuple(dict.fromkeys((*own, *names, *still)))


def _loads(domain: str, folder: Path | None) -> bool:
    """Whether a domain of an earlier call still exists and is valid."""
    try:
        find_domain(domain, folder)
    except DomainError:
        return False
    return True


def find_experiment(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        SettingsError: when there is none.
    """
    if name not in EXPERIMENTS:
        raise SettingsError(f"no experiment '{name}'{did_you_mean(name, list(EXPERIMENTS))}")
    return EXPERIMENTS[name]


def _problems(
    name: str,
    experiment: Experiment,
    domains: Sequence[str],
    methods: Sequence[str],
    options: Mapping[str, Any],
) -> list[str]:
    """One line for each problem with the experiment's own options."""
    problems = []
    for option, names in (("domains", domains), ("methods", methods)):
        if names and option != experiment.chosen_by:
            problems.append(f"--{option} does not apply to {name}; use --{experiment.chosen_by}")
        problems += check_once(f"--{option}", names)
    if experiment.chosen_by == "methods":
        known = (*experiment.names, *experiment.on_request)
        problems += [
            f"--methods: '{each}' is not in {name}{did_you_mean(each, known)}"
            for each in methods
            if each not in known
        ]
    problems += [
        f"--{option.replace('_', '-')} does not apply to {name}; leave it out"
        for option in (*_DRAWN, *_DISTILLED)
        if option in options and option not in experiment.extras
    ]
    draws = options.get("draws", 1)
    if draws < 1:
        problems.append(f"--draws {draws} is too small; it must be at least 1")
    return problems + check_shares("--footprints", options.get("footprints", ()))
