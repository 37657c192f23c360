"""Kernels of a convolution, shared within each input channel by k-means; only arrays."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from workbench.deployment.quantisation.kernel_tensors import KernelWeights, kernels_of


def kernel_counts(
    indicators: NDArray[np.float64], kernels: int, granularity: int, rate: int
) -> NDArray[np.int64]:
    """How many kernels each input channel keeps, q, shape (c,); the formula is in the stage's card.

    Args:
        indicators: of the channels, in [0, 1], shape (c,).
        kernels: that read a channel, N, at least 1.
        granularity: number of levels, G, at least 2.
        rate: T, at least 0.
    """
    levels = np.minimum(np.floor(indicators * granularity), granularity - 1)
    shared = np.ceil(kernels * 2.0 ** (levels + 1 - granularity - rate))
    counts = np.select([levels == 0, levels == granularity - 1], [0, kernels], shared)
    return counts.astype(np.int64)


def share_kernels(
    weight: NDArray[np.float32], groups: int, counts: NDArray[np.int64]
) -> KernelWeights:
    """Replace the kernels of each input channel by at most so many.

    Args:
        weight: of a convolution, finite, shape (filters, inputs / groups, *kernel).
        groups: of the convolution.
        counts: for each input channel; a channel with as many as it has kernels is unchanged.
    """
    every = kernels_of(weight, groups)
    books, indices = [], np.zeros(every.shape[:2], dtype=np.uint16)
    for channel, (kernels, count) in enumerate(zip(every, counts, strict=True)):
        if count == len(kernels):
            book, indices[channel] = kernels, np.arange(count)
        elif count:
            book, indices[channel] = cluster_kernels(kernels, int(count))
        else:
            book = kernels[:0]
        books.append(book)
    sizes = np.array([len(book) for book in books], dtype=np.uint16)
    return KernelWeights(weight.shape, groups, sizes, np.concatenate(books), indices)


def cluster_kernels(
    kernels: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Clusters of kernels by k-means; their order changes only the order of the indices.

    Args:
        kernels: shape (n, d).
        count: number of clusters, at least 1. If there are no more distinct kernels, these are
            the centroids, and nothing is lost.

    Returns:
        The centroids, shape (k, d) with k at most ``count``, and the centroid of each kernel,
        shape (n,).
    """
    # Sorted, so that the start of k-means does not depend on the order of the filters.
    distinct, places, members = np.unique(kernels, axis=0, return_inverse=True, return_counts=True)
    places = places.reshape(-1)
    if len(distinct) <= count:
        return distinct, places
    labels = _labels(distinct.astype(np.float64), members, count)[places]
    used, labels = np.unique(labels, return_inverse=True)
    sums = np.zeros((len(used), kernels.shape[1]))
    np.add.at(sums, labels, kernels)
    means = sums / np.bincount(labels)[:, None]
    return means.astype(np.float32), labels


def _labels(
    points: NDArray[np.float64], members: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """The cluster of each point, shape (n,); a point counts as often as it has members."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    means = KMeans(count, n_init=1, tol=0, random_state=0)
    with warnings.catch_warnings():
        # Points that are equal up to rounding leave clusters empty; they are left out.
        warnings.simplefilter("ignore", ConvergenceWarning)
        means.fit(points, sample_weight=members)
    labels: NDArray[np.int64] = means.labels_
    return labels
