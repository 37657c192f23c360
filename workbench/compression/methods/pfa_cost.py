"""Cost-aware PFA as a recipe; the mathematics and its card are in ``pfa.cost_aware``.

The price of a filter is a share of the cost of all filters, so the unit of the costs does not
matter, and a threshold of 0.1 means: one nat of log energy is worth 10 % of that cost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.compression.evidence import Array, Evidence
from workbench.compression.recipe_options import RecipeOptions
from workbench.pfa import worth_keep_count, worth_thresholds


def counts(evidence: Sequence[Evidence], options: RecipeOptions) -> list[int]:
    """Filters of each group whose energy is worth their price at the threshold; at least one."""
    assert options.threshold is not None  # set by the budget
    return [
        worth_keep_count(group.spectrum, price, options.threshold)
        for group, price in zip(evidence, _prices(evidence, options), strict=True)
    ]


def thresholds(evidence: Sequence[Evidence], options: RecipeOptions) -> Array:
    """All thresholds at which any group's keep count changes, ascending, and 0."""
    found = [
        worth_thresholds(group.spectrum, price)
        for group, price in zip(evidence, _prices(evidence, options), strict=True)
    ]
    every = np.concatenate([np.zeros(1), *found])
    return np.unique(every[np.isfinite(every)])


def _prices(evidence: Sequence[Evidence], options: RecipeOptions) -> list[float]:
    """Cost of one filter of each group, as a share of the cost of all filters."""
    each = []
    for group in evidence:
        assert group.price is not None  # computed where a method needs it
        each.append(group.price.of(options.cost))
    total = sum(price * group.group.filters for price, group in zip(each, evidence, strict=True))
    return [price / total for price in each] if total > 0 else each
