"""PFA-En as a compression method; the mathematics and its card are in ``pfa.energy``."""

from __future__ import annotations

from numpy.typing import NDArray

from workbench.compression.options import RecipeOptions
from workbench.pfa import energy_keep_count

#: Energy kept when the user names neither an energy nor a budget.
DEFAULT_ENERGY = 0.95


def keep_count(spectrum: NDArray, options: RecipeOptions) -> int:
    """Filters to keep so that at least ``options.energy`` of the layer's energy is kept."""
    return energy_keep_count(spectrum, options.energy or DEFAULT_ENERGY)
