"""Rank the filters of all layers together, by scores that are comparable between layers.

The recipes of several methods keep the filters with the largest scores of the whole network, so the
ranking determines both how many filters a layer keeps and which. At least one filter of each group
is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from workbench.compression.evidence.evidence import Array, Evidence
from workbench.compression.recipes.recipe_options import RecipeOptions

Scores = Callable[[Evidence], Array]
Counts = Callable[[Sequence[Evidence], RecipeOptions], list[int]]


def counts_by(scores: Scores) -> Counts:
    """A recipe's ``counts``: filters of each group among the largest scores of the network.

    The share of all filters that is kept is the threshold. Ties go to earlier groups and filters.

    Args:
        scores: scores of a group's filters, shape (n,); the largest are kept.
    """

    def counts(evidence: Sequence[Evidence], options: RecipeOptions) -> list[int]:
        assert options.threshold is not None  # set by the budget
        ranked = among_largest([scores(group) for group in evidence], options.threshold)
        return [max(1, int(part.sum())) for part in ranked]

    return counts


def among_largest(every: Sequence[Array], share: float) -> list[NDArray[np.bool_]]:
    """Mark the filters with the largest scores of the network; ties go to earlier groups.

    Args:
        every: the scores of each group, shape (n,).
        share: of all filters, rounded to a whole number of them.

    Returns:
        For each group, shape (n,): whether a filter is among them.
    """
    order = np.argsort(-np.concatenate(every), kind="stable")
    taken = np.zeros(len(order), dtype=bool)
    taken[order[: round(share * len(order))]] = True
    ends = np.cumsum([len(part) for part in every])
    return np.split(taken, ends[:-1])


def thresholds(evidence: Sequence[Evidence], options: RecipeOptions) -> Array:
    """Shares of all filters, ascending, in (0, 1], in steps of one filter."""
    filters = sum(group.group.filters for group in evidence)
    return np.arange(1, filters + 1) / filters
