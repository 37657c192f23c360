"""Which filters PFA keeps; the mathematics and its card are in ``pfa.selection``."""

from __future__ import annotations

from workbench import pfa
from workbench.compression.evidence import Evidence, Indices
from workbench.compression.recipe_options import RecipeOptions


def choose(evidence: Evidence, block: Indices, keep: int, options: RecipeOptions) -> Indices:
    """The kept filters of a block: those left when the most correlated one goes, again and again.

    Args:
        block: indices of the filters to choose among.
        keep: how many.
    """
    chosen = pfa.select_filters(evidence.correlation[block[:, None], block], keep)
    return block[list(chosen)]
