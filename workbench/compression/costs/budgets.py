"""A recipe for a budget: the threshold of the largest network within the budget (method card).

Idea: the user knows the capacity of the device, not how much energy to keep.
Formula: a group's keep count changes only at certain thresholds (for PFA-En: at its cumulative
energies), so they cover all possible recipes. Costs never fall as the threshold rises, so the
largest threshold within the budget is found by bisection.
Cost: about twelve evaluations of the cost for VGG-16's 4,736 thresholds.
When it does not help: one threshold for all groups is the method's choice, not the best network
of that size. A latency is measured, so it is only nearly monotone: two measurements of the
returned recipe are within the budget, but a larger network might also be within it.

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
        candidates: the thresholds, ascending, from the recipe's ``thresholds``.
        cost: returns the cost at a threshold; must not fall as the threshold rises.
    """
    low, high = -1, len(candidates) - 1  # up to low: within the limit; from high on: not
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
    """Step down from the threshold ``energy`` until a new measurement is within the limit.

    Returns None when no measurement is.
    """
    place, stride = int(np.searchsorted(candidates, energy)), 1
    while place >= 0:
        if cost(float(candidates[place])) <= limit:
            return float(candidates[place])
        place, stride = place - stride, 2 * stride
    return None
