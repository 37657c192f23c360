"""PFA-KL as a recipe; the mathematics and its cards are in ``pfa.kl`` and ``pfa.divergences``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.compression.evidence.evidence import Array, Evidence
from workbench.compression.methods.uniform import rounded_up
from workbench.compression.recipes.recipe_options import RecipeOptions
from workbench.pfa import divergence_keep_count


def counts(evidence: Sequence[Evidence], options: RecipeOptions) -> list[int]:
    """Filters to keep in each group, by the divergence and the map of the options.

    A threshold is a factor on these counts: 0.5 keeps half as many. Factors above 1 keep more, up
    to all filters.
    """
    wanted = _own_counts(evidence, options)
    if options.threshold is None:
        return wanted
    return [
        rounded_up(count * options.threshold, group.group.filters)
        for count, group in zip(wanted, evidence, strict=True)
    ]


def thresholds(evidence: Sequence[Evidence], options: RecipeOptions) -> Array:
    """All factors at which any group's keep count changes, ascending."""
    steps = [
        np.arange(1, group.group.filters + 1) / count
        for count, group in zip(_own_counts(evidence, options), evidence, strict=True)
    ]
    return np.unique(np.concatenate(steps))


def _own_counts(evidence: Sequence[Evidence], options: RecipeOptions) -> list[int]:
    return [
        divergence_keep_count(group.spectrum, options.divergence, options.gamma_map)
        for group in evidence
    ]
