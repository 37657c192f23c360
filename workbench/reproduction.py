"""The paper's figures and tables, ours beside the published numbers.

Each experiment is data: the parts that it wants trained, and a function that makes a page of what
is there. A page shows every finished cell with the same settings, whatever was asked for in this
call, so that an experiment may be run domain by domain, on several machines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.cells import Cell
from workbench.display import Display
from workbench.errors import SettingsError, did_you_mean
from workbench.experiments import Part, Wish, known_cells, run_parts
from workbench.pages import Page, write_page
from workbench.reproductions import ablation, figure4, tables

Found = list[tuple[Wish, Cell]]
_EXTRAS = ("draws", "footprints")
_SEEDS_SHOWN = 20  # of finished cells, this many seeds are looked for


@dataclass(frozen=True)
class Experiment:
    """One figure or table.

    Attributes:
        defaults: options of ``adapt`` that the paper fixes; the user's come before them.
        parts: from the options, the names asked for (domains, or methods) and the seeds.
        names: what ``--domains`` or ``--methods`` names; domains of your own stand alone.
        chosen_by: which of the two options chooses among the names.
        page: makes title, findings, body and figures of what is finished.
        extras: options that it takes beside those of ``adapt``.
    """

    defaults: Mapping[str, Any]
    parts: Callable[[Mapping[str, Any], Sequence[str], range], list[Part]]
    names: tuple[str, ...]
    chosen_by: str
    page: Callable[[str, Found, Path], Page]
    extras: tuple[str, ...] = ()


EXPERIMENTS: dict[str, Experiment] = {
    "figure4": Experiment(
        {"source": "cifar100", "model": "vgg16"},
        figure4.parts, figure4.DOMAINS, "domains", figure4.page,
    ),
    "figure1": Experiment(
        {"source": "cifar10", "model": "simplecnn"},
        ablation.parts, ablation.CURVES, "methods", ablation.page, _EXTRAS,
    ),
    **{
        f"table{number}": Experiment(
            tables.DEFAULTS[number], tables.parts, tables.methods(number), "methods", tables.page
        )
        for number in tables.DEFAULTS
    },
}  # fmt: skip


def reproduce(
    name: str,
    *,
    names: Sequence[str] = (),
    chosen_by: str = "",
    seeds: int = 1,
    first_seed: int = 0,
    results: Path = Path("docs/results"),
    fresh: bool = False,
    command: Sequence[str] = (),
    display: Display | None = None,
    **options: Any,
) -> Path:
    """Train what a figure or table lacks, and write its page.

    Args:
        name: one of ``EXPERIMENTS``.
        names: only these domains or methods; all of the experiment's when empty.
        chosen_by: "domains" or "methods": what ``names`` are.
        seeds, first_seed: which seeds.
        results: folder of the pages; rows and figures go there, too.
        fresh: train again what is finished.
        command: for the page: what the user called.
        **options: those of ``adapt``, and those that the experiment takes beside them.

    Returns:
        The page's path.

    Raises:
        WorkbenchError: for anything that the user can mend; see ``errors``.
    """
    experiment = find_experiment(name)
    given = {option: value for option, value in options.items() if value is not None}
    _check(name, experiment, names, chosen_by, given)
    wanted = {**experiment.defaults, **given}
    parts = experiment.parts(
        wanted, names or experiment.names, range(first_seed, first_seed + seeds)
    )
    run_parts(parts, results, fresh=fresh, display=display)
    every = experiment.names if set(names) <= set(experiment.names) else tuple(names)
    shown = range(max(_SEEDS_SHOWN, first_seed + seeds))
    found = known_cells(experiment.parts(wanted, every, shown), results)
    page = replace(experiment.page(name, found, results), command=command)
    return write_page(page, [cell for _, cell in found], results)


def find_experiment(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        SettingsError: when there is none.
    """
    if name not in EXPERIMENTS:
        raise SettingsError(f"no experiment '{name}'{did_you_mean(name, list(EXPERIMENTS))}")
    return EXPERIMENTS[name]


def _check(
    name: str,
    experiment: Experiment,
    names: Sequence[str],
    chosen_by: str,
    options: Mapping[str, Any],
) -> None:
    problems = []
    if names and chosen_by != experiment.chosen_by:
        problems.append(f"--{chosen_by} does not apply to {name}; take --{experiment.chosen_by}")
    elif chosen_by == "methods":
        problems += [
            f"--methods: '{each}' is not in {name}{did_you_mean(each, experiment.names)}"
            for each in names
            if each not in experiment.names
        ]
    problems += [
        f"--{option} does not apply to {name}; leave it out"
        for option in _EXTRAS
        if option in options and option not in experiment.extras
    ]
    if problems:
        raise SettingsError(*problems)
