"""Keep the directions whose energy is worth their cost (method card; ours, not the paper's).

Idea: PFA-En keeps the same share of the energy in every layer, whatever that costs. Under a small
budget the energy should be kept where it is cheap.

Formula: E_k is the sum of the k largest shares of a spectrum. The gain of its k-th direction is
g_k = ln E_k - ln E_(k-1), for k >= 2, and c is the price of one filter: what the whole network
saves if the layer has one filter less. With one threshold t > 0 for all layers, a layer keeps

    k = 1 + #{k >= 2: g_k t >= c}.

The gains never rise with k, so this maximises sum over layers of (ln E_k - c k / t): the threshold
is the inverse of a Lagrange multiplier, and no widths of the same cost have a larger sum of
logarithms. A higher threshold never keeps fewer filters.

Cost: O(n log n). When it does not help: prices are those of the full network, so the method solves
the problem with linear costs. If all layers of a chain shrink by the same factor, so do all prices,
and their ratios do not change. Otherwise the prices are wrong. The energy of a layer is not its
accuracy: the method can narrow an expensive layer to a bottleneck, so it is used with a minimum
width. Ln E is our choice of a loss: it is the logarithm of the energy that passes through a chain
of layers which each keep a share E of it.

Paper: none. PFA's spectra are those of section 3; PFA-En (section 3.1) has no prices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from workbench.pfa.covariance import Array
from workbench.pfa.spectrum import check_spectrum

#: A smaller gain, in nats, is a rounding error of the eigenvalues: the direction has no energy.
_NO_GAIN = 1e-12


def log_energy_gains(spectrum: ArrayLike) -> Array:
    """The gain of each direction after the first, in nats.

    Args:
        spectrum: shape (n,), shares of the energy in any order.

    Returns:
        Shape (n - 1,), never rising; 0 for a direction without energy.

    Raises:
        ValueError: if ``spectrum`` is not a valid spectrum.
    """
    shares = np.sort(check_spectrum(spectrum))[::-1]
    if not shares.any():
        return np.zeros(len(shares) - 1)
    gains = np.log1p(shares[1:] / np.cumsum(shares)[:-1])
    gains[gains < _NO_GAIN] = 0.0
    # Monotone by the formula; rounding errors must not change that.
    falling: Array = np.minimum.accumulate(gains)
    return falling


def worth_thresholds(spectrum: ArrayLike, price: float) -> Array:
    """The threshold from which on each direction after the first is kept.

    Args:
        spectrum: shape (n,), shares of the energy in any order.
        price: cost of one filter, at least 0, in a unit of your choice.

    Returns:
        Shape (n - 1,), never falling, in that unit per nat; infinite for a direction without
        energy, which is never kept.

    Raises:
        ValueError: if ``spectrum`` is not a valid spectrum or the price is negative or not finite.
    """
    if not 0 <= price < float("inf"):
        raise ValueError(f"a price is a finite number of at least 0, not {price}")
    gains = log_energy_gains(spectrum)
    return np.divide(price, gains, out=np.full_like(gains, np.inf), where=gains > 0)


def worth_keep_count(spectrum: ArrayLike, price: float, threshold: float) -> int:
    """Number of filters whose energy is worth their price.

    Args:
        spectrum: shape (n,), shares of the energy in any order.
        price: cost of one filter, at least 0.
        threshold: cost that one nat is worth, at least 0, in the unit of the price.

    Returns:
        k in [1, n]; 1 for a single filter and for a layer without any energy.

    Raises:
        ValueError: if ``spectrum`` is not a valid spectrum or a number is negative.
    """
    if not threshold >= 0:
        raise ValueError(f"the threshold must be at least 0, not {threshold}")
    return 1 + int(np.count_nonzero(worth_thresholds(spectrum, price) <= threshold))
