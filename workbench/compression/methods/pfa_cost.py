"""Cost-aware PFA as a recipe: halfway between equal shares and energy worth its cost (method card).

Idea: ``pfa.cost_aware`` keeps energy where it is cheap. But a spectrum is an uncertain sign of what
a layer needs after training, and a single narrow layer spoils a network. So each layer gets the
geometric mean of what its energy is worth and of an equal share.
Formula: prices are shares of the cost of all filters of the full network. For a share b of this
cost, w_l(b) are the widths of ``pfa.cost_aware`` at the largest threshold at which they cost at
most b, and equal shares are b n_l. A layer keeps ceil(sqrt(w_l(b) b n_l)) filters; a budget sets b.
Neither w_l(b) nor b n_l falls as b rises, so a larger budget never keeps fewer filters.
Cost: one sort of all eigenvalues. When it does not help: as for ``pfa.cost_aware``; where spectra
show exactly what layers need, equal shares only take accuracy away. The geometric mean was chosen
on validation images of R1. docs/results/recipes.md compares it with equal shares: they are as
accurate with more parameters. It was not compared with ``pfa.cost_aware`` alone on other targets.

Paper: none; ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from workbench.compression.evidence.evidence import Array, Evidence
from workbench.compression.recipes.recipe_options import RecipeOptions
from workbench.pfa import worth_keep_count, worth_thresholds

_ROUNDING = 1e-9


def counts(evidence: Sequence[Evidence], options: RecipeOptions) -> list[int]:
    """Filters of each group at the share ``threshold`` of the cost; at least one."""
    assert options.threshold is not None  # set by the budget
    share, prices = options.threshold, _prices(evidence, options)
    levels, costs = _path(evidence, prices)
    # The last level of the path whose widths cost at most the share; all paths start at one filter.
    level = levels[max(0, int(np.searchsorted(costs, share * (1 + _ROUNDING), "right")) - 1)]
    return [
        _halfway(worth_keep_count(group.spectrum, price, level), group.group.filters, share)
        for group, price in zip(evidence, prices, strict=True)
    ]


def thresholds(evidence: Sequence[Evidence], options: RecipeOptions) -> Array:
    """All shares of the cost at which any group's keep count changes, and 1."""
    prices = _prices(evidence, options)
    levels, costs = _path(evidence, prices)
    found = [np.clip(costs, 0.0, 1.0), np.ones(1)]
    for group, price in zip(evidence, prices, strict=True):
        filters, values = group.group.filters, worth_thresholds(group.spectrum, price)
        worth = 1 + np.searchsorted(np.sort(values), levels, "right")
        for width in np.unique(worth):
            # While the path has this width w, the count is j up to the share j^2 / (w n).
            start, end = costs[worth == width][0], np.append(costs, 1.0)[np.sum(worth <= width)]
            shares = np.arange(1, filters + 1) ** 2 / (width * filters)
            found.append(shares[(shares > start) & (shares < end)])
        # Just before the path widens a group, its counts are those of the end of the step.
    steps = np.unique(np.clip(costs, 0.0, 1.0))
    found.append(steps[1:] * (1 - 2 * _ROUNDING))
    return np.unique(np.concatenate(found))


def _halfway(worth: int, filters: int, share: float) -> int:
    """The geometric mean of a width and of an equal share, within 1 to ``filters``."""
    mean = math.sqrt(worth * share * filters)
    return min(filters, max(1, math.ceil(mean * (1 - _ROUNDING))))


def _path(evidence: Sequence[Evidence], prices: Sequence[float]) -> tuple[Array, Array]:
    """The thresholds of ``pfa.cost_aware``, ascending from 0, and the costs of their widths."""
    found = [
        worth_thresholds(group.spectrum, price)
        for group, price in zip(evidence, prices, strict=True)
    ]
    steps = np.concatenate([np.empty(0), *found])
    each = np.repeat(prices, [len(own) for own in found])
    order = np.argsort(steps, kind="stable")
    order = order[np.isfinite(steps[order])]
    levels = np.concatenate([[0.0], steps[order]])
    costs = sum(prices) + np.concatenate([[0.0], np.cumsum(each[order])])
    # Directions with the same threshold are kept together: the last of them has the whole cost.
    last = np.append(levels[1:] > levels[:-1], True)
    return levels[last], costs[last]


def _prices(evidence: Sequence[Evidence], options: RecipeOptions) -> list[float]:
    """Cost of one filter of each group, as a share of the cost of all filters."""
    each = []
    for group in evidence:
        assert group.price is not None  # computed where a method needs it
        each.append(group.price.of(options.cost))
    total = sum(price * group.group.filters for price, group in zip(each, evidence, strict=True))
    return [price / total for price in each] if total > 0 else each
