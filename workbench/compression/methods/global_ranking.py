"""Rank the filters of all layers together, by scores that are comparable between layers.

The recipes of several methods keep the filters with the largest scores of the whole network, so the
ranking determines both how many filters a layer keeps and which. At least one filter of each group
is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from workbench.compression.evidence import Array, Evidence
from workbench.compression.recipe_options import RecipeOptions

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
        every = [scores(group) for group in evidence]
        order = np.argsort(-np.concatenate(every), kind="stable")
        taken = np.zeros(len(order), dtype=bool)
        taken[order[: round(options.threshold * len(order))]] = True
        ends = np.cumsum([len(part) for part in every])
        return [max(1, int(part.sum())) for part in np.split(taken, ends[:-1])]

    return counts


def thresholds(evidence: Sequence[Evidence], options: RecipeOptions) -> Array:
    """Shares of all filters, ascending, in (0, 1], in steps of one filter."""
    filters = sum(group.group.filters for group in evidence)
    return np.arange(1, filters + 1) / filters
