"""PFA-En for a budget: the energy at which the network is as large as it may be (method card).

Idea: the user knows what the device can hold, not how much energy to keep.
Formula: a group's keep count changes only where the threshold passes one of its cumulative
energies, so these are all the recipes that there are; costs never fall as the threshold rises,
and the largest threshold within the budget is found by bisection over them.
Cost: about twelve evaluations of the cost for VGG-16's 4,736 thresholds.
When it does not help: one threshold for all groups is the method's choice, not the best network
of that size. A latency is measured, so it is only nearly monotone: what is returned has been
measured twice within the budget, but another recipe might also be.

Paper: section 3.1 (method.md, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Budget:
    """What the network may cost.

    Attributes:
        option: as the user wrote it: "footprint", "flops", "params" or "latency_ms".
        limit: shares in (0, 1], a count of parameters, or milliseconds.
    """

    option: str
    limit: float


#: The options that are budgets, with the words for their value.
BUDGETS = {
    "footprint": "of the parameters",
    "flops": "of the FLOPs",
    "params": "parameters",
    "latency_ms": "ms",
}


def thresholds(spectra: Iterable[Array]) -> Array:
    """All energies at which any group's keep count changes, ascending, in (0, 1].

    Args:
        spectra: each of shape (n,), shares of the energy.
    """
    sums = [np.cumsum(np.sort(spectrum)[::-1]) for spectrum in spectra]
    every = np.concatenate([np.clip(part, 0.0, 1.0) for part in sums])
    return np.unique(np.append(every[every > 0], 1.0))


def largest_within(candidates: Array, cost: Callable[[float], float], limit: float) -> float | None:
    """The largest threshold whose cost is within the limit, or None when none is.

    Args:
        candidates: ascending, from ``thresholds``.
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
