"""Spectrum of a layer: its covariance's eigenvalues as shares of their sum (method card).

Idea: a layer whose responses are spread evenly over all directions needs all its filters; one
whose responses lie in few directions does not. The spectrum describes this spread.

Formula: l_i = lambda_i / sum lambda, in descending order.
Cost: one symmetric eigenvalue problem, O(n^3); no eigenvectors.
When it does not help: the spectrum ignores scale, so a layer with tiny but evenly spread
responses has the same spectrum as one with large responses.

Paper: section 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigh

from workbench.pfa.covariance import Array, check_square


def spectrum(covariance: ArrayLike) -> Array:
    """Eigenvalues of the covariance, descending, as shares of their sum.

    Args:
        covariance: shape (n, n), symmetric; with fewer samples than filters the missing
            eigenvalues are 0.

    Returns:
        Shape (n,), in [0, 1], descending, summing to 1; all zeros when nothing varies.

    Raises:
        ValueError: if the matrix is not square or holds NaN or infinity.
    """
    eigenvalues = eigh(check_square(covariance), eigvals_only=True)[::-1]
    eigenvalues = np.clip(eigenvalues, 0.0, None)
    # Not "> tiny": any positive eigenvalue gives a spectrum, however small the responses are.
    if eigenvalues[0] == 0:
        return np.zeros_like(eigenvalues)
    shares: Array = eigenvalues / eigenvalues[0]  # before the sum, which could overflow
    shares /= shares.sum()
    return shares


def check_spectrum(values: ArrayLike) -> Array:
    """Return ``values`` as float64; raise ValueError if they are not a spectrum."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"a spectrum is a vector of at least one value, not shape {array.shape}")
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError("a spectrum holds shares between 0 and 1")
    if array.any() and abs(array.sum() - 1) > 1e-6:
        raise ValueError(f"a spectrum sums to 1, not to {array.sum():.6g}")
    return array
