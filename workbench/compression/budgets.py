"""A recipe for a budget: the threshold at which the network is as large as it may be (method card).

Idea: the user knows what the device can hold, not how much energy to keep.
Formula: a group's keep count changes only at certain thresholds (of PFA-En: where one passes a
cumulative energy), so these are all the recipes that there are; costs never fall as the threshold
rises, and the largest threshold within the budget is found by bisection over them.
Cost: about twelve evaluations of the cost for VGG-16's 4,736 thresholds.
When it does not help: one threshold for all groups is the method's choice, not the best network
of that size. A latency is measured, so it is only nearly monotone: what is returned has been
measured twice within the budget, but another recipe might also be.

Paper: section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def largest_within(candidates: Array, cost: Callable[[float], float], limit: float) -> float | None:
    """The largest threshold whose cost is within the limit, or None when none is.

    Args:
        candidates: ascending, from the recipe's ``thresholds``.
        cost: of the network at a threshold; must not fall as the threshold rises.
    """
    low, high = -1, len(candidates) - 1  # the answer lies in (low, high], or there is none
    if cost(float(candidates[high])) <= limit:
        return float(candidates[high])
    while high - low > 1:
        middle = (low + high) // 2
        if cost(float(candidates[middle])) <= limit:
            low = middle
        else:
            high = middle
    return None if low < 0 else float(candidates[low])


def confirmed(
    candidates: Array, energy: float, cost: Callable[[float], float], limit: float
) -> float | None:
    """Step down from ``energy`` until a fresh measurement is within the limit."""
    place, stride = int(np.searchsorted(candidates, energy)), 1
    while place >= 0:
        if cost(float(candidates[place])) <= limit:
            return float(candidates[place])
        place, stride = place - stride, 2 * stride
    return None
