"""Compare methods on the same domains, at the same budgets, with the same training.

Every method is trained by the protocol pfa-fine: the kept filters' weights are fine-tuned. The page
also shows full-fine, trained in the same way, and the untrained source. A budget is a share of the
parameters or of the FLOPs; the footprint "pfa-kl" is that of PFA-KL's network on the domain.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.adaptation.settings import Settings
from workbench.adaptation.tasks.task import resolve
from workbench.compression.method_names import (
    METHODS,
    RECIPES,
    REFERENCE,
    SCALES,
    SELECTIONS,
    Method,
)
from workbench.compression.recipes.recipe_settings import RecipeSettings
from workbench.data.user_paths import user_path
from workbench.errors import SettingsError, WorkbenchError, check_choice, check_once, did_you_mean
from workbench.experiments.bench_page import (
    FLOPS,
    FULL,
    SOURCE,
    TRAINED,
    write_page,
)
from workbench.experiments.engines.engine_settings import EngineSettings
from workbench.experiments.grid import (
    check_parts,
    check_shares,
    known_cells,
    planned_work,
    problems_of,
    run_parts,
    shown_seeds,
)
from workbench.experiments.requested_cells import Anew, Part
from workbench.experiments.settings import RESULTS
from workbench.models.weight_files import has_penalty
from workbench.training.progress import Display
from workbench.training.settings import check_seeds
from workbench.training.time_left import TRAINING, PlannedStep

#: The option of ``adapt`` that limits the networks, and its value.
Budget = tuple[str, str | float]
Label = tuple[str, ...]
#: Stands for all methods.
ALL = "all"
#: Methods that ``bench`` compares by default.
USUAL = ("pfa-kl", "fp", "fpgm", "apoz", "network-slimming", "random", "uniform")


def bench(
    targets: Sequence[str],
    *,
    methods: Sequence[str] = (),
    recipes: Sequence[str] = (),
    selections: Sequence[str] = (),
    footprints: Sequence[str] = (),
    flops: Sequence[str] = (),
    seeds: int = 1,
    first_seed: int = 0,
    slimming_weights: Path | None = None,
    results: Path = RESULTS,
    fresh: bool = False,
    command: Sequence[str] = (),
    display: Display | None = None,
    engine: EngineSettings | None = None,
    **options: Any,
) -> Path:
    """Train the missing cells of the comparison, and write its page.

    The page shows every method that has cells with these options, not only the requested methods.

    Args:
        targets: names of domains.
        methods: names in ``METHODS``; ``USUAL`` without recipes. "all" means all that are possible
            with these targets and budgets; the page names the others.
        recipes, selections: each recipe is combined with each selection (PFA's by default).
        footprints: "pfa-kl", or shares of the parameters in (0, 1]; "pfa-kl" without ``flops``.
        flops: shares of the FLOPs in (0, 1].
        seeds, first_seed: number of seeds and the first one; the random recipe draws again for
            each seed.
        slimming_weights: source network of network-slimming, trained with a penalty on its scales.
        results: folder of the page, its figure and the rows.
        fresh: repeat finished trainings.
        command: the user's command, shown on the page.
        display: shows the progress.
        engine: runs the trainings in other processes.
        **options: options of ``adapt``.

    Returns:
        The page's path.

    Raises:
        WorkbenchError: for anything that the user can correct; see ``errors``.
    """
    options = {name: value for name, value in options.items() if value is not None}
    everything = ALL in methods
    methods = tuple(METHODS) if everything else methods
    results = user_path(results)
    slimming_weights = user_path(slimming_weights) if slimming_weights else None
    problems = _problems(targets, methods, recipes, selections, footprints, flops)
    problems += _weight_problems(slimming_weights)
    problems += check_seeds(seeds, first_seed)
    if problems:
        raise SettingsError(*problems)
    if not methods and not recipes:
        methods = USUAL
    networks = _networks(methods, recipes, selections or ("pfa",))
    budgets = _budgets(footprints, flops)
    asked = range(first_seed, first_seed + seeds)
    # Network slimming may have its own source network: a file, or one trained here with the
    # penalty. Its footprint is still that of PFA-KL on the source network of the other methods.
    apart = slimming_weights is not None or "weights" not in options
    whole = [{**options, "target": target} for target in targets]
    left_out, impossible = (
        _left_out(whole, networks, budgets, asked) if everything else (frozenset[Label](), [])
    )

    def requested(slimming: _Slimming) -> list[Part]:
        every = _parts(whole, networks, budgets, asked, slimming)
        return [part for part in every if part.label not in left_out]

    slims = any(SCALES in (each.recipe, each.selection) for each in networks.values())
    first = _reference_parts(whole, asked[:1]) if apart and slims else []
    slimming = _Slimming(slimming_weights, {})
    parts = requested(slimming)
    check_parts([*first, *parts])
    scales = slimming_weights or options.get("weights")
    suited = not scales or has_penalty(user_path(scales))
    anew = Anew() if fresh else None
    display = display or Display()
    whole_work = {"references": first, "methods": parts}
    planned = _planned(whole_work, results, anew) if display.is_watched else []
    with display.plan(planned) as plan:
        with plan.step():
            run_parts(first, results, anew=anew, display=display, engine=engine)
        if apart:
            sizes = _sizes(_reference_parts(whole, shown_seeds(asked)), results)
            slimming = replace(slimming, sizes=sizes)
            parts = requested(slimming)
        with plan.step():
            run_parts(parts, results, anew=anew, display=display, engine=engine)
    every_network = {**networks, **_networks(tuple(METHODS), (), ())}
    shown = _parts(whole, every_network, budgets, shown_seeds(asked), slimming)
    return write_page(shown, asked, impossible, suited, results, command)


def _budgets(footprints: Sequence[str], flops: Sequence[str]) -> list[Budget]:
    """The budgets of the comparison; PFA-KL's footprint if the user names none."""
    found: list[Budget] = [("footprint", each) for each in footprints]
    found += [("flops", float(each)) for each in flops]
    return found or [("footprint", REFERENCE)]


def _left_out(
    whole: Sequence[Mapping[str, Any]],
    networks: Mapping[str, Method],
    budgets: Sequence[Budget],
    seeds: range,
) -> tuple[frozenset[Label], list[str]]:
    """The methods with a budget that a target does not allow, and a line about each method.

    Nothing is left out if nothing would be left; the check of the parts then reports the reasons.
    """
    parts = _parts(whole, networks, budgets, seeds, _Slimming(None, {}))
    found = problems_of(parts)
    compressed = [part.label for part in parts if part.label[0] in networks]
    if all(label in found for label in compressed):
        return frozenset(), []
    lines = []
    for name in networks:
        out = [label for label in dict.fromkeys(compressed) if label[0] == name and label in found]
        reasons = "; ".join(dict.fromkeys(line for label in out for line in found[label]))
        if out:
            lines.append(f"{name} is left out ({reasons}).")
    return frozenset(found), lines


def _planned(
    parts: Mapping[str, Sequence[Part]], results: Path, anew: Anew | None
) -> list[PlannedStep]:
    return [
        PlannedStep(title, {TRAINING: planned_work(each, results, anew)})
        for title, each in parts.items()
    ]


@dataclass(frozen=True)
class _Slimming:
    """Options of network-slimming that differ from those of the other methods.

    Attributes:
        weights: its own source network; None without one.
        sizes: parameters of PFA-KL's network by target, if its source network is another.
    """

    weights: Path | None
    sizes: Mapping[str, int]

    def options(self, target: str, budget: Budget) -> dict[str, Any]:
        """The options of network-slimming at a budget."""
        own = {"weights": self.weights, "source_epochs": None} if self.weights else {}
        if budget[1] == REFERENCE and target in self.sizes:
            return {**own, "footprint": None, "params": self.sizes[target]}
        return {**own, **dict([budget])}


def _reference_parts(whole: Sequence[Mapping[str, Any]], seeds: range) -> list[Part]:
    """PFA-KL's network of each target, whose size does not depend on the seed."""
    return [Part({**options, "method": REFERENCE}, (TRAINED,), seeds) for options in whole]


def _sizes(references: Sequence[Part], results: Path) -> dict[str, int]:
    known = known_cells(references, results)
    return {wish.part.options["target"]: cell.parameters for wish, cell in known}


def _networks(
    methods: Sequence[str], recipes: Sequence[str], selections: Sequence[str]
) -> dict[str, Method]:
    """The method of every network to compare, by its label."""
    every = [METHODS[method] for method in methods]
    every += [Method(recipe, selection) for recipe in recipes for selection in selections]
    return {
        RecipeSettings.of(recipe=each.recipe, selection=each.selection).label: each
        for each in every
    }


def _problems(
    targets: Sequence[str],
    methods: Sequence[str],
    recipes: Sequence[str],
    selections: Sequence[str],
    footprints: Sequence[str],
    flops: Sequence[str],
) -> list[str]:
    """One line for each problem with the comparison's own options."""
    problems = [
        f"--methods: unknown value '{name}'{did_you_mean(name, list(METHODS))}"
        for name in methods
        if name not in METHODS
    ]
    for option, names, known in (
        ("--recipes", recipes, RECIPES), ("--selections", selections, SELECTIONS),
    ):  # fmt: skip
        problems += [line for name in names for line in check_choice(option, name, known)]
        problems += check_once(option, names)
    if selections and not recipes:
        problems.append("--selections has no effect without --recipes; add one")
    if not targets:
        problems.append("--target names none")
    for option, names in (("--target", targets), ("--methods", methods)):
        problems += check_once(option, names)
    if footprints:
        problems += check_shares("--footprints", footprints, (REFERENCE,))
    if flops:
        problems += check_shares("--flops", flops, ())
    return problems


def _weight_problems(slimming_weights: Path | None) -> list[str]:
    if slimming_weights is None or os.path.isfile(slimming_weights):
        return []
    return [
        f"--slimming-weights {slimming_weights}: no such file; 'workbench train --sparsity' "
        "writes one"
    ]


def _parts(
    whole: Sequence[Mapping[str, Any]],
    networks: Mapping[str, Method],
    budgets: Sequence[Budget],
    seeds: range,
    slimming: _Slimming,
) -> list[Part]:
    """The full networks of each target, and every compressed network at every budget."""
    return [
        part
        for options in whole
        for part in _target_parts(options, networks, budgets, seeds, slimming)
    ]


def _target_parts(
    options: Mapping[str, Any],
    networks: Mapping[str, Method],
    budgets: Sequence[Budget],
    seeds: range,
    slimming: _Slimming,
) -> list[Part]:
    full = {**options, "method": REFERENCE}
    found = [Part(full, (FULL,), seeds, (FULL, ""))]
    if _knows_classes(full):
        found.append(Part(full, (SOURCE,), seeds, (SOURCE, "")))
    for budget in budgets:
        for label, method in networks.items():
            parts = (method.recipe, method.selection)
            own = {**options, "recipe": method.recipe, "selection": method.selection}
            if not (budget[1] == REFERENCE and method.recipe == REFERENCE):
                own |= dict([budget])
            if SCALES in parts:
                own |= slimming.options(options["target"], budget)
            name = (label, budget_label(budget))
            if "random" in parts:
                found += [
                    Part({**own, "draw": seed}, (TRAINED,), range(seed, seed + 1), name)
                    for seed in seeds
                ]
            else:
                found.append(Part(own, (TRAINED,), seeds, name))
    return found


def _knows_classes(options: Mapping[str, Any]) -> bool:
    """Whether the untrained source has the target's classes; False for wrong options."""
    try:
        return SOURCE in resolve(Settings.of(**options)).protocols
    except WorkbenchError:  # reported with all other problems by ``check_parts``
        return False


def budget_label(budget: Budget) -> str:
    """A budget as text: a share of the parameters is only a number."""
    option, share = budget
    return str(share) if option == "footprint" else f"{share:g} {FLOPS}"
