"""The weights of two layers that replace one; pure functions of NumPy arrays in float64.

A layer has weights of shape (n, c, *kernel): n filters, c input channels, and for convolutions the
kernel. As a matrix W it is (n, d), where d is c times the number of the kernel's places.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, svd

from workbench import pfa

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TwoLayers:
    """The weights of the two layers.

    Attributes:
        first: shape (k, d / groups, *kernel) as of a layer with k filters.
        second: shape (n, k).
        bias: shape (n,), of the second layer; None without one.
    """

    first: Array
    second: Array
    bias: Array | None


@dataclass(frozen=True, eq=False)
class SizeChoices:
    """What a layer loses at each size that its factors may have.

    Attributes:
        sizes: ascending ranks or group sizes.
        energies: shape as ``sizes``, not falling, in [0, 1]: the share that each size keeps of the
            outputs' variance, or of the weights' sum of squares. The largest group size of a layer
            with more filters than channels may keep less than 1.
        spectrum: shape (n,), descending shares; eigenvalues of the outputs' covariance, or
            squared singular values of the weights, filled up with zeros.
        wanted: the size that the spectrum itself asks for (PFA-KL); None if there is no such rule.
    """

    sizes: NDArray[np.int64]
    energies: Array
    spectrum: Array
    wanted: int | None = None

    def at_energy(self, energy: float) -> int | None:
        """The smallest size that keeps at least this share; None if no size does."""
        enough = np.flatnonzero(self.energies >= energy - 1e-12)
        return int(self.sizes[enough[0]]) if len(enough) else None

    def energy_of(self, size: int) -> float:
        """The share that a size keeps."""
        return float(self.energies[int(np.searchsorted(self.sizes, size))])


def response_choices(weight: Array, covariance: Array) -> SizeChoices:
    """The ranks of a layer by the spectrum of its outputs.

    Args:
        weight: shape (n, c, *kernel).
        covariance: shape (n, n), of the layer's outputs.
    """
    spectrum = pfa.spectrum(covariance)
    ranks = _ranks(weight, spectrum)
    return replace(ranks, wanted=min(len(ranks.sizes), pfa.kl_keep_count(spectrum)))


def weight_choices(weight: Array) -> SizeChoices:
    """The ranks of a layer by the squared singular values of its weights, shape (n, c, *kernel)."""
    return _ranks(weight, _padded_shares(_squares(_matrix(weight)), len(weight)))


def _ranks(weight: Array, spectrum: Array) -> SizeChoices:
    """All ranks that two layers can have, by what they keep of the spectrum."""
    most = min(len(weight), weight[0].size)
    energies = np.cumsum(spectrum)[:most].clip(0.0, 1.0) if spectrum.any() else np.ones(most)
    energies[-1] = 1.0  # the full rank loses nothing, whatever the rounding of the spectrum
    return SizeChoices(np.arange(1, most + 1), energies, spectrum)


def group_choices(weight: Array) -> SizeChoices:
    """The group sizes of a convolution, the divisors of c, by what their blocks keep of W.

    A block of g channels keeps its g largest singular values. Merging blocks never loses more, but
    3 channels may keep less than 2, so the shares are those of the best size up to each.
    """
    filters, channels = weight.shape[:2]
    total = float((weight**2).sum())
    sizes = np.array([size for size in range(1, channels + 1) if channels % size == 0])
    kept = [
        sum(_squares(block)[:size].sum() for block in _blocks(weight, size))
        for size in sizes.tolist()
    ]
    energies = np.maximum.accumulate(np.array(kept) / total) if total else np.ones(len(sizes))
    if filters <= channels:
        energies[-1] = 1.0  # one block of full rank
    spectrum = _padded_shares(_squares(_matrix(weight)), filters)
    return SizeChoices(sizes, energies.clip(0.0, 1.0), spectrum)


def from_responses(
    weight: Array, bias: Array | None, mean: Array, covariance: Array, rank: int
) -> TwoLayers:
    """Two layers whose outputs are the projection of the outputs onto their principal directions.

    With y = W x + b, mean m and the first k eigenvectors U of the covariance:
    U U' (y - m) + m = U (U' W) x + m + U U' (b - m).

    Args:
        weight: shape (n, c, *kernel).
        bias: shape (n,), or None.
        mean, covariance: shapes (n,) and (n, n), of the layer's outputs.
        rank: k, in 1..n.

    Returns:
        The weights; the bias is always set. The mean squared error over the measured outputs is
        the sum of the discarded eigenvalues (with the covariance's ddof).
    """
    vectors = _with_fixed_signs(eigh(covariance)[1][:, ::-1][:, :rank])
    given = np.zeros(len(mean)) if bias is None else bias
    first = vectors.T @ _matrix(weight)
    return TwoLayers(
        first.reshape(rank, *weight.shape[1:]),
        vectors,
        mean + vectors @ (vectors.T @ (given - mean)),
    )


def from_weights(weight: Array, bias: Array | None, rank: int) -> TwoLayers:
    """Two layers whose product is the closest matrix of this rank to W (Eckart and Young).

    Args:
        weight: shape (n, c, *kernel).
        rank: in 1..min(n, d).
    """
    second, first = _halves(_matrix(weight), rank)
    return TwoLayers(first.reshape(rank, *weight.shape[1:]), second, bias)


def from_groups(weight: Array, bias: Array | None, size: int) -> TwoLayers:
    """A grouped convolution of c filters, and a pointwise one, from the blocks of W.

    Args:
        weight: shape (n, c, *kernel).
        size: g, input channels of each block; divides c.

    Returns:
        ``first`` has shape (c, g, *kernel), and ``second`` (n, c).
    """
    halves = [_halves(block, size) for block in _blocks(weight, size)]
    first = np.concatenate([part for _, part in halves])
    second = np.concatenate([part for part, _ in halves], axis=1)
    return TwoLayers(first.reshape(len(first), size, *weight.shape[2:]), second, bias)


def _halves(matrix: Array, rank: int) -> tuple[Array, Array]:
    """The best product of (n, rank) and (rank, d); both have the same singular values.

    Where the matrix has fewer singular values than ``rank``, the rest is zero.
    """
    left, values, right = svd(matrix, full_matrices=False)
    known = min(rank, len(values))
    left = _with_fixed_signs(left[:, :known])
    right = np.sign((left * (matrix @ right[:known].T)).sum(axis=0))[:, None] * right[:known]
    roots = np.sqrt(values[:known])
    second, first = np.zeros((len(matrix), rank)), np.zeros((rank, matrix.shape[1]))
    second[:, :known], first[:known] = left * roots, roots[:, None] * right
    return second, first


def _with_fixed_signs(vectors: Array) -> Array:
    """The columns with signs that do not depend on the library: the largest entry is positive."""
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.sign(vectors[largest, np.arange(vectors.shape[1])])
    fixed: Array = vectors * np.where(signs == 0, 1.0, signs)
    return fixed


def _squares(matrix: Array) -> Array:
    """Squared singular values, descending; from the smaller Gram matrix, which is quicker."""
    rows, columns = matrix.shape
    gram = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    squares: Array = eigh(gram, eigvals_only=True)[::-1].clip(0.0)
    return squares


def _matrix(weight: Array) -> Array:
    return weight.reshape(len(weight), -1)


def _blocks(weight: Array, size: int) -> list[Array]:
    """The matrices (n, g * kernel) of blocks of g input channels."""
    parts = np.split(weight, weight.shape[1] // size, axis=1)
    return [part.reshape(len(weight), size * math.prod(weight.shape[2:])) for part in parts]


def _padded_shares(values: Array, filters: int) -> Array:
    shares = np.zeros(filters)
    if values.sum() > 0:
        shares[: len(values)] = values / values.sum()
    return shares
