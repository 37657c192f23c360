"""The tables of compression methods: how many filters each group keeps, and which.

A method is a recipe and a selection, and every recipe can be combined with every selection; or it
is a factorisation, which keeps all filters. A new method needs one file here, its lines in the
tables and one test file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.compression.evidence.evidence import Array, Evidence, Indices
from workbench.compression.factorisation.factor_method import (
    FactorMethod,
    energy_size,
    energy_thresholds,
)
from workbench.compression.methods import (
    apoz,
    ccp,
    dalr,
    fga,
    fp,
    fpgm,
    gal,
    global_ranking,
    hrank,
    kse,
    lamp,
    network_slimming,
    pfa_cost,
    pfa_en,
    pfa_kl,
    pfa_selection,
    random,
    repr_overlap,
    svd,
    taylor,
    uniform,
    vib,
)
from workbench.compression.recipes.recipe_options import RecipeOptions
from workbench.models.factors import GROUPED, LOW_RANK

Selection = Callable[[Evidence, Indices, int, RecipeOptions], Indices]


@dataclass(frozen=True)
class HowMany:
    """How many filters each group keeps.

    Attributes:
        counts: returns the keep count of each group, within 1..n. A count never falls as the
            threshold rises.
        thresholds: returns all thresholds at which a count changes, ascending; None for a recipe
            without a threshold.
        active_only: whether active filters are kept before any inactive filter.
    """

    counts: Callable[[Sequence[Evidence], RecipeOptions], list[int]]
    thresholds: Callable[[Sequence[Evidence], RecipeOptions], Array] | None = None
    active_only: bool = False


def keep_highest(scores: Callable[[Evidence], Array]) -> Selection:
    """A selection that keeps the filters with the highest scores; ties go to the first ones."""

    def choose(evidence: Evidence, block: Indices, keep: int, options: RecipeOptions) -> Indices:
        order = np.argsort(-scores(evidence)[block], kind="stable")
        return block[order[:keep]]

    return choose


def _ranked(scores: Callable[[Evidence], Array]) -> HowMany:
    """A recipe that ranks the filters of all layers together."""
    return HowMany(global_ranking.counts_by(scores), global_ranking.thresholds)


RECIPES: dict[str, HowMany] = {
    "pfa-kl": HowMany(pfa_kl.counts, pfa_kl.thresholds, active_only=True),
    "pfa-en": HowMany(pfa_en.counts, pfa_en.thresholds, active_only=True),
    "pfa-cost": HowMany(pfa_cost.counts, pfa_cost.thresholds, active_only=True),
    "network-slimming": _ranked(network_slimming.scores),
    "apoz": HowMany(apoz.counts, apoz.thresholds),
    "uniform": HowMany(uniform.counts, uniform.thresholds),
    "random": HowMany(random.counts, random.thresholds),
    "vib": HowMany(vib.counts, global_ranking.thresholds),
    "gal": HowMany(gal.counts, global_ranking.thresholds),
    "taylor": _ranked(taylor.scores),
    "lamp": _ranked(lamp.scores),
    "repr": _ranked(repr_overlap.scores),
    "kse": _ranked(kse.scores),
}
SELECTIONS: dict[str, Selection] = {
    "pfa": pfa_selection.choose,
    "fp": keep_highest(fp.scores),
    "fpgm": keep_highest(fpgm.scores),
    "network-slimming": keep_highest(network_slimming.scores),
    "apoz": keep_highest(apoz.scores),
    "random": random.choose,
    "vib": keep_highest(vib.scores),
    "gal": keep_highest(gal.scores),
    "taylor": keep_highest(taylor.scores),
    "lamp": keep_highest(lamp.scores),
    "repr": keep_highest(repr_overlap.scores),
    "kse": keep_highest(kse.scores),
    "hrank": keep_highest(hrank.scores),
    "ccp": ccp.choose,
}
#: Methods that keep all filters and replace layers by two thinner ones.
FACTORISATIONS: dict[str, FactorMethod] = {
    "dalr": FactorMethod(
        LOW_RANK, True, dalr.choices, dalr.divergence_size, dalr.divergence_thresholds, dalr.weights
    ),
    "dalr-en": FactorMethod(
        LOW_RANK, True, dalr.choices, energy_size, energy_thresholds, dalr.weights
    ),
    "svd": FactorMethod(LOW_RANK, False, svd.choices, energy_size, energy_thresholds, svd.weights),
    "fga": FactorMethod(
        GROUPED, False, fga.choices, energy_size, energy_thresholds, fga.weights, fga.REVISION
    ),
}
