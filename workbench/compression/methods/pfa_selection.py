"""PFA's filter selection; the mathematics and its card are in ``pfa.selection``."""

from __future__ import annotations

from workbench import pfa
from workbench.compression.evidence.evidence import Evidence, Indices
from workbench.compression.recipes.recipe_options import RecipeOptions


def choose(evidence: Evidence, block: Indices, keep: int, options: RecipeOptions) -> Indices:
    """Select filters of a block by repeatedly removing the most correlated one.

    Args:
        evidence: the evidence on the filter group.
        block: indices of the filters to choose from.
        keep: number of filters to keep.
        options: not used.
    """
    chosen = pfa.select_filters(evidence.correlation[block[:, None], block], keep)
    return block[list(chosen)]
