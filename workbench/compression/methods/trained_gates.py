"""How many filters, and which, from the scores of trained gates (``training.gates``).

A score above 0 is an open gate. Without a budget, every layer keeps its filters with open gates.
With one, the filters of all layers are ranked by their scores together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from workbench.compression.evidence import Array, Evidence
from workbench.compression.recipe_options import RecipeOptions

Counts = Callable[[Sequence[Evidence], RecipeOptions], list[int]]


def counts_of(method: str, *, open_only: bool) -> Counts:
    """The recipe of a method: filters of each group, at least one.

    Args:
        method: name of its scores in ``Evidence.measured``.
        open_only: whether filters with closed gates are not kept even within a budget.
    """

    def counts(evidence: Sequence[Evidence], options: RecipeOptions) -> list[int]:
        every = [group.measured[method] for group in evidence]
        is_open = [scores > 0 for scores in every]
        if options.threshold is not None:
            ranked = _among_the_first(every, options.threshold)
            is_open = [
                first & own if open_only else first
                for first, own in zip(ranked, is_open, strict=True)
            ]
        return [max(1, int(part.sum())) for part in is_open]

    return counts


def _among_the_first(every: Sequence[Array], share: float) -> list[np.ndarray]:
    """For each group, which filters are among this share of all; ties go to earlier layers."""
    order = np.argsort(-np.concatenate(every), kind="stable")
    taken = np.zeros(len(order), dtype=bool)
    taken[order[: round(share * len(order))]] = True
    ends = np.cumsum([len(part) for part in every])
    return np.split(taken, ends[:-1])


def thresholds(evidence: Sequence[Evidence], options: RecipeOptions) -> Array:
    """Shares of all filters, ascending, in (0, 1], in steps of one filter."""
    filters = sum(group.group.filters for group in evidence)
    return np.arange(1, filters + 1) / filters
