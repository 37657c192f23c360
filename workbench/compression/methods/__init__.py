"""The tables of compression methods: how many filters each group keeps, and which.

Both are chosen apart: a method is a recipe and a selection, and every recipe goes with every
selection. A new method is one file here, its lines in the tables and one test file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.compression.evidence import Array, Evidence, Indices
from workbench.compression.methods import (
    apoz,
    fp,
    fpgm,
    network_slimming,
    pfa_en,
    pfa_kl,
    pfa_selection,
    random,
    uniform,
)
from workbench.compression.recipe_options import RecipeOptions

Selection = Callable[[Evidence, Indices, int, RecipeOptions], Indices]


@dataclass(frozen=True)
class HowMany:
    """How many filters each group keeps.

    Attributes:
        counts: keep count of each group, each within 1..n; never falls as the threshold rises.
        thresholds: all that make a difference, ascending; None for a method without one.
        active_only: no filter without a response is kept while others are left.
    """

    counts: Callable[[Sequence[Evidence], RecipeOptions], list[int]]
    thresholds: Callable[[Sequence[Evidence], RecipeOptions], Array] | None = None
    active_only: bool = False


def keep_highest(scores: Callable[[Evidence], Array]) -> Selection:
    """The selection that keeps the filters of the highest scores; of equal ones the first."""

    def choose(evidence: Evidence, block: Indices, keep: int, options: RecipeOptions) -> Indices:
        order = np.argsort(-scores(evidence)[block], kind="stable")
        return block[order[:keep]]

    return choose


RECIPES: dict[str, HowMany] = {
    "pfa-kl": HowMany(pfa_kl.counts, active_only=True),
    "pfa-en": HowMany(pfa_en.counts, pfa_en.thresholds, active_only=True),
    "network-slimming": HowMany(network_slimming.counts, network_slimming.thresholds),
    "apoz": HowMany(apoz.counts, apoz.thresholds),
    "uniform": HowMany(uniform.counts, uniform.thresholds),
    "random": HowMany(random.counts, random.thresholds),
}
SELECTIONS: dict[str, Selection] = {
    "pfa": pfa_selection.choose,
    "fp": keep_highest(fp.scores),
    "fpgm": keep_highest(fpgm.scores),
    "network-slimming": keep_highest(network_slimming.scores),
    "apoz": keep_highest(apoz.scores),
    "random": random.choose,
}
#: Recipes and selections that read how often filters are silent: one more pass over the images.
READS_ZEROS = {"apoz"}
