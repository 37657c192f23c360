"""PFA-En as a compression method; the mathematics and its card are in ``pfa.energy``."""

from __future__ import annotations

from numpy.typing import NDArray

from workbench.pfa import energy_keep_count

#: Energy kept when the user names none.
DEFAULT_ENERGY = 0.95


def keep_count(spectrum: NDArray, energy: float | None) -> int:
    """Filters to keep so that at least ``energy`` of the layer's energy is kept."""
    return energy_keep_count(spectrum, DEFAULT_ENERGY if energy is None else energy)
