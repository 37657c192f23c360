"""Covariance of responses in one pass (method card).

Idea: centre every batch on its own mean, take its centred products, and merge counts, means
and products as Chan, Golub and LeVeque (1979) do. Values are centred before they are squared,
so a mean that is 10,000 times the spread costs no accuracy. All arithmetic is in float64.

Formula: C = 1/(m-1) sum (x_i - mean)(x_i - mean)^T over m responses x_i of n filters; two parts
a, b merge to S = S_a + S_b + (mean_b - mean_a)(mean_b - mean_a)^T m_a m_b / m.
Cost: O(m n^2) time for m images and n filters; O(n^2) memory, independent of m.
When it does not help: with fewer images than filters the rank is at most m - 1, and the spectrum
describes the images more than the layer.

Paper: Suau, Zappella, Apostoloff, "Filter Distillation for Network Compression", section 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.blas import dsyr, dsyrk

Array = NDArray[np.float64]

#: A filter is inactive when its variance is at most this share of the layer's largest.
INACTIVE_VARIANCE = 1e-8
_BLOCK_BYTES, _LEAST_ROWS = 2**20, 256  # size of a block of float64 samples


class StreamingCovariance:
    """Mean and covariance of an m x n response matrix that arrives in batches.

    Args:
        filters: n, at least 1.

    Raises:
        ValueError: if ``filters`` is below 1.
    """

    def __init__(self, filters: int) -> None:
        if filters < 1:
            raise ValueError(f"filters must be at least 1, not {filters}")
        self._count = 0
        self._mean = np.zeros(filters)
        self._products = np.zeros((filters, filters))

    @classmethod
    def from_moments(cls, count: int, mean: ArrayLike, products: ArrayLike) -> StreamingCovariance:
        """Wrap moments computed elsewhere, on an accelerator for instance.

        Args:
            count: number of samples m, at least 0.
            mean: shape (n,).
            products: shape (n, n), the sum over the samples of (x - mean)(x - mean)^T.

        Raises:
            ValueError: if the shapes disagree, the count is negative or a value is not finite.
        """
        mean_ = np.array(mean, dtype=np.float64)
        products_ = np.array(products, dtype=np.float64)
        if mean_.ndim != 1 or products_.shape != (len(mean_), len(mean_)) or count < 0:
            raise ValueError(
                f"moments do not fit: count {count}, mean {mean_.shape}, products {products_.shape}"
            )
        if not (np.isfinite(mean_).all() and np.isfinite(products_).all()):
            raise ValueError("responses hold NaN or infinity")
        moments = cls(len(mean_))
        moments._count, moments._mean, moments._products = int(count), mean_, products_
        return moments

    def update(self, batch: ArrayLike) -> None:
        """Add samples.

        Args:
            batch: shape (b, n), one row a sample; b may be 0.

        Raises:
            ValueError: if the batch does not have n columns, or holds NaN or infinity.
        """
        rows = np.asarray(batch)
        if rows.ndim != 2 or rows.shape[1] != self.filters:
            raise ValueError(f"a batch must have shape (b, {self.filters}), not {rows.shape}")
        if not len(rows):
            return
        mean, products = _moments(rows)
        # A value that is not finite, or an overflow, reaches the mean or the filter's own product.
        if not (np.isfinite(mean).all() and np.isfinite(np.diagonal(products)).all()):
            raise ValueError("responses hold NaN or infinity")
        seen = StreamingCovariance(self.filters)
        seen._count, seen._mean, seen._products = len(rows), mean, products
        self.merge(seen)

    def merge(self, other: StreamingCovariance) -> None:
        """Add the samples of ``other``; ``other`` does not change.

        Raises:
            ValueError: if ``other`` has another number of filters.
        """
        if other.filters != self.filters:
            raise ValueError(f"cannot merge {other.filters} filters into {self.filters}")
        total = self._count + other._count
        if not other._count:
            return
        step = other._mean - self._mean
        self._products += other._products
        self._products += np.outer(step, step) * (self._count * other._count / total)
        self._mean += step * (other._count / total)
        self._count = total

    @property
    def filters(self) -> int:
        """Number of filters n."""
        return len(self._mean)

    @property
    def count(self) -> int:
        """Number of samples seen so far, m."""
        return self._count

    @property
    def mean(self) -> Array:
        """Mean response of each filter, shape (n,); zeros before the first sample."""
        return self._mean.copy()

    @property
    def covariance(self) -> Array:
        """Covariance of the responses with ddof 1, shape (n, n), exactly symmetric.

        Raises:
            ValueError: with fewer than two samples.
        """
        if self._count < 2:
            raise ValueError(f"a covariance needs at least 2 samples, not {self._count}")
        return (self._products + self._products.T) / (2 * (self._count - 1))


def _moments(rows: NDArray[Any]) -> tuple[Array, Array]:
    """Mean and centred products of some samples, block by block.

    A block is small enough to stay in the processor's cache while it is converted to float64 and
    multiplied. BLAS adds the products to one triangle, which is half the work of a full product
    and needs no temporary n x n array.
    """
    samples, n = rows.shape
    block = max(_LEAST_ROWS, _BLOCK_BYTES // (8 * n))
    mean, products = np.zeros(n), np.zeros((n, n), order="F")
    with np.errstate(over="ignore", invalid="ignore"):  # the caller rejects non-finite values
        for start in range(0, samples, block):
            part = rows[start : start + block]
            # Subtract the first row, so that a filter with a constant response has a variance of
            # exactly 0 even if its mean is rounded.
            first = part[0].astype(np.float64)
            centred = np.subtract(part, first, dtype=np.float64)
            step = centred.mean(axis=0)
            centred -= step
            products = dsyrk(1.0, centred.T, 1.0, products, overwrite_c=True)
            gap, total = first + step - mean, start + len(part)
            if start:
                weight = start * len(part) / total
                products = dsyr(weight, gap, a=products, overwrite_a=True)
            mean += gap * (len(part) / total)
    upper = np.triu(products)
    return mean, upper + np.triu(upper, 1).T


def inactive_filters(covariance: ArrayLike) -> NDArray[np.bool_]:
    """Mask of the filters that do not respond to the domain at all.

    A filter is inactive if its variance is at most 1e-8 of the layer's largest variance. In a
    layer where nothing varies, all filters are inactive.

    Args:
        covariance: shape (n, n).

    Returns:
        Boolean mask of shape (n,), True for inactive.

    Raises:
        ValueError: if the matrix is not square or holds NaN or infinity.
    """
    variance = np.diagonal(check_square(covariance))
    # "<=", not "<": in an all-zero layer the threshold is 0 and every filter is inactive.
    inactive: NDArray[np.bool_] = variance <= INACTIVE_VARIANCE * max(variance.max(), 0.0)
    return inactive


def correlation(covariance: ArrayLike) -> Array:
    """Pearson correlation of the responses.

    Args:
        covariance: shape (n, n).

    Returns:
        Shape (n, n), exactly symmetric, in [-1, 1], diagonal 1. An inactive filter has a zero
        row, column and diagonal; ``select_filters`` recognises it by the diagonal.

    Raises:
        ValueError: if the matrix is not square or holds NaN or infinity.
    """
    matrix = check_square(covariance)
    active = ~inactive_filters(matrix)
    scale = np.zeros(len(matrix))
    scale[active] = 1.0 / np.sqrt(np.diagonal(matrix)[active])
    rho = scale[:, None] * matrix * scale
    rho = np.clip((rho + rho.T) / 2, -1.0, 1.0)
    np.fill_diagonal(rho, active.astype(np.float64))
    return rho


def check_square(matrix: ArrayLike) -> Array:
    """Return ``matrix`` as float64; raise ValueError if it is empty, not square or not finite."""
    array = np.asarray(matrix, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not len(array):
        raise ValueError(f"expected a square matrix, not shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("the matrix holds NaN or infinity")
    return array
