"""PFA-KL: how many filters a spectrum asks for, without a parameter (method card).

Idea: measure how far the spectrum is from flat. A flat one (every direction matters equally)
keeps all filters, a single direction keeps one, and the share kept falls linearly with the
divergence in between.

Formula: gamma = 1 - KL(spectrum || uniform) / KL(Dirac || uniform) = H(spectrum) / ln n, and
k = ceil(gamma n), with KL(Dirac || uniform) = ln n and 0 ln 0 = 0.
Cost: O(n). When it does not help: there is no dial; for a given budget use PFA-En.

Paper: section 3.2.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlogy

from workbench.pfa.spectrum import check_spectrum

#: Relative slack of the ceiling: gamma n = 8.000000001 is 8 filters and rounding, not 9.
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
        k in [1, n]; a single filter, and a layer without any energy, keep 1.

    Raises:
        ValueError: if the spectrum is not one.
    """
    shares = check_spectrum(spectrum)
    n = len(shares)
    if n == 1:
        return 1  # ln 1 = 0: the ratio below does not exist
    wanted = (1.0 - divergence(shares) / math.log(n)) * n
    return min(max(math.ceil(wanted * (1.0 - TOLERANCE)), 1), n)
