"""PFA-KL with other divergences and other maps (method card).

Idea: PFA-KL measures how far a spectrum is from flat, as a share of the largest possible
distance, and keeps fewer filters the farther it is. Both the distance and the map from share to
filters can be replaced; the source paper (section 3.2) names chi-square and Wasserstein.

Formula: r = D(spectrum, u) / D(d, u) in [0, 1], where u is uniform over n filters and d has all
energy in one; k = ceil(psi(r) n), psi(0) = 1, psi(1) = 0.

    D    kl            sum l ln(l n);                   D(d, u) = ln n
         chi2          n sum l^2 - 1;                   D(d, u) = n - 1
         wasserstein   sum over k < n of |l_1 + ... + l_k - k / n|, the earth mover's distance
                       over the ranks of the eigenvalues; D(d, u) = (n - 1) / 2
    psi  linear        1 - r
         sqrt          sqrt(1 - r): keeps more
         square        (1 - r)^2: keeps fewer

Cost: O(n log n). When it does not help: chi-square depends almost only on the largest shares, so
it keeps nearly all filters if the spectrum has a long, thin tail.

Paper: section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from workbench.pfa.covariance import Array
from workbench.pfa.kl import TOLERANCE
from workbench.pfa.kl import divergence as kl_divergence
from workbench.pfa.spectrum import check_spectrum


def _kl(shares: Array) -> float:
    return kl_divergence(shares) / math.log(len(shares))


def _chi2(shares: Array) -> float:
    n = len(shares)
    return float(n * np.square(shares).sum() - 1) / (n - 1)


def _wasserstein(shares: Array) -> float:
    n = len(shares)
    flat = np.arange(1, n + 1) / n
    descending = np.cumsum(np.sort(shares)[::-1])
    return float(np.abs(descending - flat)[:-1].sum()) / ((n - 1) / 2)


#: Divergence from flat by name, as a share of its largest value; defined for two or more filters.
DIVERGENCES: dict[str, Callable[[Array], float]] = {
    "kl": _kl,
    "chi2": _chi2,
    "wasserstein": _wasserstein,
}
#: Map psi by name, from that share to the share of filters kept.
MAPS: dict[str, Callable[[float], float]] = {
    "linear": lambda ratio: 1.0 - ratio,
    "sqrt": lambda ratio: math.sqrt(1.0 - ratio),
    "square": lambda ratio: (1.0 - ratio) ** 2,
}


def divergence_ratio(spectrum: ArrayLike, divergence: str = "kl") -> float:
    """Divergence of a spectrum from flat, in [0, 1]: 0 if it is flat, 1 for a single direction.

    Args:
        spectrum: shape (n,), shares of the energy in any order; the result is 1 without energy.
        divergence: a name in ``DIVERGENCES``.

    Raises:
        ValueError: if ``spectrum`` is not a valid spectrum.
    """
    shares = check_spectrum(spectrum)
    if len(shares) == 1 or not shares.any():
        return 1.0
    return min(max(DIVERGENCES[divergence](shares), 0.0), 1.0)


def divergence_keep_count(
    spectrum: ArrayLike, divergence: str = "kl", gamma_map: str = "linear"
) -> int:
    """Number of filters to keep; the defaults give the same number as ``kl_keep_count``.

    Args:
        spectrum: shape (n,), shares of the energy in any order.
        divergence: a name in ``DIVERGENCES``.
        gamma_map: a name in ``MAPS``.

    Returns:
        k in [1, n]; 1 for a single filter and for a layer without any energy.

    Raises:
        ValueError: if ``spectrum`` is not a valid spectrum.
    """
    n = len(check_spectrum(spectrum))
    wanted = MAPS[gamma_map](divergence_ratio(spectrum, divergence)) * n
    return min(max(math.ceil(wanted * (1.0 - TOLERANCE)), 1), n)
