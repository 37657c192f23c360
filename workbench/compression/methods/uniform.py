"""Uniform widths: every layer keeps the same share of its filters (method card).

Idea: the null hypothesis of every recipe: if layers need not be told apart, this is as good.
Formula: k = ceil(t n) with one t for all groups.
Cost: none.
When it does not help: layers differ in what they need, so the narrowest ones suffer first. It
has no opinion on which filters to keep; PFA's selection is the default beside it.

Paper: none; it is what the others have to beat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from workbench.compression.evidence import Array, Evidence
from workbench.compression.recipe_options import RecipeOptions


def counts(evidence: Sequence[Evidence], options: RecipeOptions) -> list[int]:
    """Filters to keep of each group: the threshold's share, at least one."""
    assert options.threshold is not None  # set by the budget
    return [share_of(group.group.filters, options.threshold) for group in evidence]


def thresholds(evidence: Sequence[Evidence], options: RecipeOptions) -> Array:
    """All shares at which any group's keep count changes, ascending, in (0, 1]."""
    widths = {group.group.filters for group in evidence}
    return np.unique(np.concatenate([np.arange(1, n + 1) / n for n in widths]))


def share_of(filters: int, share: float) -> int:
    """ceil(share x filters) within 1..filters; a share that is off by rounding counts as exact."""
    return min(filters, max(1, math.ceil(filters * share * (1 - 1e-12))))
