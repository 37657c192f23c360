"""Choose one option for each item under a budget: the multiple-choice knapsack problem.

Idea: a dynamic programme over items keeps the states (size, loss) that no other state beats in
both. The best one at the end is optimal.

Cost: at most ``most_states`` states an item. With more, sizes are measured in a larger unit and
rounded up: the choice fits the budget, but may not be the best one. Sizes count from each item's
smallest option, so rounding never makes a problem infeasible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MOST_STATES = 1 << 16
_Level = tuple[NDArray[np.int64], NDArray[np.int64]]  # of each state: state before, option


def choose(
    sizes: Sequence[Sequence[int]],
    losses: Sequence[Sequence[float]],
    budget: int,
    *,
    most_states: int = _MOST_STATES,
) -> tuple[int, ...] | None:
    """Choose the options with the smallest sum of losses whose sizes sum to at most the budget.

    Args:
        sizes: sizes of each item's options, non-negative.
        losses: losses of the same options, finite.
        budget: largest sum of sizes, in the unit of ``sizes``.
        most_states: states that are kept after an item, at least 1.

    Returns:
        The chosen option of each item; None when even the smallest options exceed the budget.
        Among equal losses, the smallest size is chosen.

    Raises:
        ValueError: when an item has no options, its sizes and losses differ in number, a size is
            negative or a loss is not finite.
    """
    _check(sizes, losses)
    least = [min(row) for row in sizes]
    room = budget - sum(least)
    if room < 0:
        return None
    extra = [[size - low for size in row] for row, low in zip(sizes, least, strict=True)]
    levels = _levels(extra, losses, room, most_states)
    if levels is None:
        unit = -(-(room + 1) // most_states)
        rounded = [[-(-size // unit) for size in row] for row in extra]
        levels = _levels(rounded, losses, room // unit, most_states)
        assert levels is not None  # sizes are whole numbers in [0, most_states)
    choice, state = [], -1  # the last state has the smallest loss
    for before, option in reversed(levels):
        choice.append(int(option[state]))
        state = int(before[state])
    return tuple(reversed(choice))


def _check(sizes: Sequence[Sequence[int]], losses: Sequence[Sequence[float]]) -> None:
    if [len(row) for row in sizes] != [len(row) for row in losses] or not all(map(len, sizes)):
        raise ValueError("every item needs options, each with a size and a loss")
    if any(size < 0 for row in sizes for size in row):
        raise ValueError("a size is negative")
    if not all(math.isfinite(loss) for row in losses for loss in row):
        raise ValueError("a loss is not finite")


def _levels(
    sizes: Sequence[Sequence[int]],
    losses: Sequence[Sequence[float]],
    room: int,
    most_states: int,
) -> list[_Level] | None:
    """The undominated states after each item, by ascending size; None when there are too many."""
    used, lost = np.zeros(1, dtype=np.int64), np.zeros(1)
    levels = []
    for item_sizes, item_losses in zip(sizes, losses, strict=True):
        size = (used[:, None] + np.asarray(item_sizes)).ravel()
        loss = (lost[:, None] + np.asarray(item_losses, dtype=np.float64)).ravel()
        order = np.lexsort((loss, size))
        order = order[size[order] <= room]
        best = np.minimum.accumulate(loss[order])
        better = np.append(True, best[1:] < best[:-1])
        kept = order[better]
        if len(kept) > most_states:
            return None
        used, lost = size[kept], loss[kept]
        levels.append((kept // len(item_sizes), kept % len(item_sizes)))
    return levels
