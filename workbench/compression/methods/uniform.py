"""Uniform widths: every layer keeps the same share of its filters (method card).

Idea: the null hypothesis of every recipe: if differences between layers do not matter, this recipe
is as good as any other.
Formula: k = ceil(t n) with one t for all groups.
Cost: none.
When it does not help: layers need different shares of their filters, so the narrowest layers are
the first to lose too many. The recipe does not select filters; PFA's selection is the default.

Paper: none; this is the baseline for the other methods.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from workbench.compression.evidence.evidence import Array, Evidence
from workbench.compression.recipes.recipe_options import RecipeOptions


def counts(evidence: Sequence[Evidence], options: RecipeOptions) -> list[int]:
    """Filters to keep in each group: a share ``threshold``, at least one filter."""
    assert options.threshold is not None  # set by the budget
    return [share_of(group.group.filters, options.threshold) for group in evidence]


def thresholds(evidence: Sequence[Evidence], options: RecipeOptions) -> Array:
    """All shares at which any group's keep count changes, ascending, in (0, 1]."""
    widths = {group.group.filters for group in evidence}
    return np.unique(np.concatenate([np.arange(1, n + 1) / n for n in widths]))


def share_of(filters: int, share: float) -> int:
    """Compute ceil(share x filters) within 1..filters, tolerant of rounding errors of the share."""
    return rounded_up(filters * share, filters)


def rounded_up(count: float, filters: int) -> int:
    """Round a count up within 1..filters, tolerant of rounding errors."""
    return min(filters, max(1, math.ceil(count * (1 - 1e-12))))
