"""How many filters, and which, from the scores of trained gates (``training.gates``).

A score above 0 is an open gate. Without a budget, every layer keeps its filters with open gates.
With a budget, the filters of all layers are ranked together by their scores.
"""

from __future__ import annotations

from collections.abc import Sequence

from workbench.compression.evidence.evidence import Evidence
from workbench.compression.methods.global_ranking import Counts, among_largest
from workbench.compression.recipes.recipe_options import RecipeOptions


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
            ranked = among_largest(every, options.threshold)
            is_open = [
                first & own if open_only else first
                for first, own in zip(ranked, is_open, strict=True)
            ]
        return [max(1, int(part.sum())) for part in is_open]

    return counts
