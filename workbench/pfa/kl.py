"""PFA-KL: the number of filters to keep, without a parameter (method card).

Idea: measure how far the spectrum is from flat. A flat spectrum (every direction matters equally)
keeps all filters and a single direction keeps one. In between, the share of filters kept falls
linearly with the divergence.

Formula: gamma = 1 - KL(spectrum || uniform) / KL(Dirac || uniform) = H(spectrum) / ln n, and
k = ceil(gamma n), with KL(Dirac || uniform) = ln n and 0 ln 0 = 0.
Cost: O(n). When it does not help: no parameter adjusts the size. For a budget, the recipe
multiplies the counts of all layers by one factor, which is ours and not the paper's.

Paper: section 3.2.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlogy

from workbench.pfa.spectrum import check_spectrum

#: Relative tolerance of the ceiling: gamma n = 8.000000001 means 8 filters plus rounding, not 9.
TOLERANCE = 1e-9


def divergence(spectrum: ArrayLike) -> float:
    """KL(spectrum || uniform) in nats, in [0, ln n]; ln n for a layer without any energy."""
    shares = check_spectrum(spectrum)
    entropy = -float(np.sum(xlogy(shares, shares)))
    return min(max(math.log(len(shares)) - entropy, 0.0), math.log(len(shares)))


def kl_keep_count(spectrum: ArrayLike) -> int:
    """Number of filters that PFA-KL keeps.

    Args:
        spectrum: shape (n,), shares of the energy in any order.

    Returns:
        k in [1, n]; 1 for a single filter and for a layer without any energy.

    Raises:
        ValueError: if ``spectrum`` is not a valid spectrum.
    """
    shares = check_spectrum(spectrum)
    n = len(shares)
    if n == 1:
        return 1  # ln 1 = 0: the ratio below is undefined
    wanted = (1.0 - divergence(shares) / math.log(n)) * n
    return min(max(math.ceil(wanted * (1.0 - TOLERANCE)), 1), n)
