"""PFA-KL as a compression method; the mathematics and its cards are in ``pfa.kl`` and
``pfa.divergences``."""

from __future__ import annotations

from numpy.typing import NDArray

from workbench.compression.options import RecipeOptions
from workbench.pfa import divergence_keep_count


def keep_count(spectrum: NDArray, options: RecipeOptions) -> int:
    """Filters to keep, by the divergence and the map of the options."""
    return divergence_keep_count(spectrum, options.divergence, options.gamma_map)
