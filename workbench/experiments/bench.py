"""Compare methods on the same domains, at the same footprint, with the same training.

Every method is trained by the protocol pfa-fine: the kept filters' weights are fine-tuned. The page
also shows full-fine. The footprint "pfa-kl" means the footprint of PFA-KL's network on the domain;
other footprints are shares.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.compression.method_names import METHODS, REFERENCE, SCALES
from workbench.data.user_paths import user_path
from workbench.errors import SettingsError, check_once, did_you_mean
from workbench.experiments.bench_page import FULL, TRAINED, left_out, make_page, slimming_note
from workbench.experiments.grid import (
    Anew,
    Part,
    check_parts,
    check_shares,
    known_cells,
    of_shared_seeds,
    run_parts,
    shown_seeds,
)
from workbench.experiments.pages import publish
from workbench.experiments.settings import RESULTS
from workbench.models.weight_files import has_penalty
from workbench.training.progress import Display
from workbench.training.settings import check_seeds

#: Methods that ``bench`` compares by default.
USUAL = ("pfa-kl", "fp", "fpgm", "apoz", "network-slimming", "random", "uniform")


def bench(
    targets: Sequence[str],
    *,
    methods: Sequence[str] = USUAL,
    footprints: Sequence[str] = (REFERENCE,),
    seeds: int = 1,
    first_seed: int = 0,
    slimming_weights: Path | None = None,
    results: Path = RESULTS,
    fresh: bool = False,
    command: Sequence[str] = (),
    display: Display | None = None,
    **options: Any,
) -> Path:
    """Train the missing cells of the comparison, and write its page.

    The page shows every method that has cells with these options, not only the requested methods.

    Args:
        targets: names of domains.
        methods: names in ``METHODS``.
        footprints: "pfa-kl", or shares in (0, 1].
        seeds, first_seed: number of seeds and the first one; the random recipe draws again for
            each seed.
        slimming_weights: source network of network-slimming, trained with a penalty on its scales.
        results: folder of the page, its figure and the rows.
        fresh: repeat finished trainings.
        command: the user's command, shown on the page.
        display: shows the progress.
        **options: options of ``adapt``.

    Returns:
        The page's path.

    Raises:
        WorkbenchError: for anything that the user can correct; see ``errors``.
    """
    options = {name: value for name, value in options.items() if value is not None}
    results = user_path(results)
    slimming_weights = user_path(slimming_weights) if slimming_weights else None
    problems = _problems(targets, methods, footprints, slimming_weights)
    problems += check_seeds(seeds, first_seed)
    if problems:
        raise SettingsError(*problems)
    asked = range(first_seed, first_seed + seeds)
    # Network slimming may have its own source network: a file, or one trained here with the
    # penalty. Its footprint is still that of PFA-KL on the source network of the other methods.
    apart = slimming_weights is not None or "weights" not in options
    whole = [{**options, "target": target} for target in targets]
    first = _reference_parts(whole, asked[:1]) if apart and SCALES in methods else []
    slimming = _Slimming(slimming_weights, {})
    check_parts([*first, *_parts(whole, methods, footprints, asked, slimming)])
    scales = slimming_weights or options.get("weights")
    suited = not scales or has_penalty(user_path(scales))
    anew = Anew() if fresh else None
    run_parts(first, results, anew=anew, display=display)
    if apart:
        sizes = _sizes(_reference_parts(whole, shown_seeds(asked)), results)
        slimming = replace(slimming, sizes=sizes)
    wanted = _parts(whole, methods, footprints, asked, slimming)
    run_parts(wanted, results, anew=anew, display=display)
    shown = _parts(whole, tuple(METHODS), footprints, shown_seeds(asked), slimming)
    every = known_cells(shown, results)
    found = of_shared_seeds(every, lambda wish: wish.part.label, asked=asked)
    notes = [*left_out(every, found), *([] if suited else slimming_note(found))]
    cells = [cell for _, cell in found]
    return publish(lambda: make_page(found, results, notes), cells, results, command)


@dataclass(frozen=True)
class _Slimming:
    """Options of network-slimming that differ from those of the other methods.

    Attributes:
        weights: its own source network; None without one.
        sizes: parameters of PFA-KL's network by target, if its source network is another.
    """

    weights: Path | None
    sizes: Mapping[str, int]

    def options(self, target: str, footprint: str) -> dict[str, Any]:
        """The options of network-slimming at a footprint."""
        own = {"weights": self.weights, "source_epochs": None} if self.weights else {}
        if footprint == REFERENCE and target in self.sizes:
            return {**own, "footprint": None, "params": self.sizes[target]}
        return {**own, "footprint": footprint}


def _reference_parts(whole: Sequence[Mapping[str, Any]], seeds: range) -> list[Part]:
    """PFA-KL's network of each target, whose size does not depend on the seed."""
    return [Part({**options, "method": REFERENCE}, (TRAINED,), seeds) for options in whole]


def _sizes(references: Sequence[Part], results: Path) -> dict[str, int]:
    known = known_cells(references, results)
    return {wish.part.options["target"]: cell.parameters for wish, cell in known}


def _problems(
    targets: Sequence[str],
    methods: Sequence[str],
    footprints: Sequence[str],
    slimming_weights: Path | None,
) -> list[str]:
    """One line for each problem with the comparison's own options."""
    problems = [
        f"--methods: unknown value '{name}'{did_you_mean(name, list(METHODS))}"
        for name in methods
        if name not in METHODS
    ]
    for option, names in (("--target", targets), ("--methods", methods)):
        if not names:
            problems.append(f"{option} names none")
        problems += check_once(option, names)
    problems += check_shares("--footprints", footprints, (REFERENCE,))
    if slimming_weights is not None and not os.path.isfile(slimming_weights):
        problems.append(
            f"--slimming-weights {slimming_weights}: no such file; 'workbench train --sparsity' "
            "writes one"
        )
    return problems


def _parts(
    whole: Sequence[Mapping[str, Any]],
    methods: Sequence[str],
    footprints: Sequence[str],
    seeds: range,
    slimming: _Slimming,
) -> list[Part]:
    """The full network of each target, and every method at every footprint."""
    return [
        part
        for options in whole
        for part in _target_parts(options, methods, footprints, seeds, slimming)
    ]


def _target_parts(
    options: Mapping[str, Any],
    methods: Sequence[str],
    footprints: Sequence[str],
    seeds: range,
    slimming: _Slimming,
) -> list[Part]:
    found = [Part({**options, "method": REFERENCE}, (FULL,), seeds, (FULL, ""))]
    for footprint in footprints:
        for method in methods:
            own = {**options, "method": method, **_budget(method, footprint)}
            if method == SCALES:
                own |= slimming.options(options["target"], footprint)
            label = (method, footprint)
            if method == "random":
                found += [
                    Part({**own, "draw": seed}, (TRAINED,), range(seed, seed + 1), label)
                    for seed in seeds
                ]
            else:
                found.append(Part(own, (TRAINED,), seeds, label))
    return found


def _budget(method: str, footprint: str) -> dict[str, Any]:
    return {} if method == footprint == REFERENCE else {"footprint": footprint}
