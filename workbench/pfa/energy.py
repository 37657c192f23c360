"""PFA-En: how many filters carry a wanted share of the energy (method card).

Idea: directions that carry little of the responses' energy do not need a filter.
Formula: the smallest k whose k largest eigenvalues sum to at least the threshold.
Cost: O(n). When it does not help: you must choose the threshold, and the same threshold gives
very different footprints on different networks.

Paper: section 3.1.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.pfa.spectrum import check_spectrum

#: Ten equal eigenvalues must give 8 at 0.8, though their running sum is 0.7999...
_TOLERANCE = 1e-12


def energy_keep_count(spectrum: ArrayLike, threshold: float) -> int:
    """Number of filters that PFA-En keeps.

    Args:
        spectrum: shape (n,), shares of the energy in any order.
        threshold: wanted share of the energy, in (0, 1].

    Returns:
        k in [1, n]; 1 for a layer without any energy.

    Raises:
        ValueError: if the threshold is outside (0, 1] or ``spectrum`` is not a valid spectrum.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"the energy must lie in (0, 1], not {threshold}")
    shares = np.sort(check_spectrum(spectrum))[::-1]
    if not shares.any():
        return 1
    enough = np.cumsum(shares) >= threshold - _TOLERANCE
    # A spectrum whose sum is slightly below 1 never reaches a threshold of 1: keep all filters.
    return int(np.argmax(enough)) + 1 if enough.any() else len(shares)


def energy_thresholds(spectra: Iterable[ArrayLike]) -> NDArray[np.float64]:
    """All energies at which the keep count of any spectrum changes, ascending, in (0, 1].

    Args:
        spectra: each of shape (n,), shares of the energy in any order.
    """
    sums = [np.cumsum(np.sort(spectrum)[::-1]) for spectrum in spectra]
    every = np.concatenate([np.clip(part, 0.0, 1.0) for part in sums])
    return np.unique(np.append(every[every > 0], 1.0))


def kept_energy(spectrum: ArrayLike, keep: int) -> float:
    """Share of the energy in the ``keep`` largest eigenvalues, in [0, 1].

    Raises:
        ValueError: if ``keep`` is outside 1 to n or ``spectrum`` is not a valid spectrum.
    """
    shares = np.sort(check_spectrum(spectrum))[::-1]
    if not 1 <= keep <= len(shares):
        raise ValueError(f"keep must lie between 1 and {len(shares)}, not {keep}")
    return float(min(shares[:keep].sum(), 1.0))
