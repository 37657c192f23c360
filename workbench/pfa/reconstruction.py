"""Predict removed responses from kept ones by ridge regression (method card).

Idea: PFA removes the filters that the kept ones predict best. The prediction is linear, so the
layer that reads both can use it in place of the removed responses: only its weights change.
Formula: with responses z in R^n and their Gram matrix G = sum z z^T, z_R is predicted as A z_K with
A = G_RK (G_KK + r s I)^-1. s is the mean of the diagonal of G_KK, so that the ridge r has no unit.
There is no constant: at the border of an image, a reader with padding would add a part of it only.
The squared error of a reader with weights W (outputs x n) is tr(W_R E W_R^T), where
E = G_RR - A G_KR - G_RK A^T + A G_KK A^T. For every r >= 0, E is at most G_RR (as positive
semi-definite matrices), so no output's error grows.
Twins: a response that is a multiple of a kept one, up to rounding, is predicted by that one alone.
Ridge: the value of ``RIDGES`` with the smallest error when A is computed from one half of the
images and tested on the other, summed over both ways.
Cost: O(n^3) per reader and half, O(n^2) memory.
When it does not help: where kept responses do not predict removed ones, A is nearly 0. A reader
with padding at positions of a kernel sees each response at several positions; A ignores that the
errors of neighbouring positions are correlated.

Paper: the same idea with other predictions is in Srinivas and Babu (2015), and in Kim et al.,
"Neuron Merging: Compensating for Pruned Neurons" (NeurIPS 2020).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

#: Candidates for the ridge, from the strongest to the weakest.
RIDGES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10)
#: Two responses are twins if 1 - cos^2 of their angle is at most this.
_TWINS = 1e-12


def predict_removed(
    gram: Array, kept: Indices, removed: Indices, ridges: Sequence[float]
) -> list[Array]:
    """The matrix A for each ridge.

    Args:
        gram: shape (n, n), sum of z z^T.
        kept, removed: shapes (k,) and (r,): disjoint indices into the n responses.
        ridges: shares of the mean of the diagonal of G_KK, each above 0.

    Returns:
        For each ridge a matrix of shape (r, k), all zeros if all kept responses are 0.

    Raises:
        ValueError: when the Gram matrix holds NaN or infinity.
    """
    if not np.isfinite(gram).all():
        raise ValueError("responses hold NaN or infinity")
    inner, cross = gram[np.ix_(kept, kept)], gram[np.ix_(removed, kept)]
    scale = float(np.trace(inner)) / max(1, len(kept))
    if scale <= 0:
        return [np.zeros(cross.shape)] * len(ridges)
    values, vectors = np.linalg.eigh(inner)
    turned = cross @ vectors
    # Rounding makes eigenvalues of a singular matrix slightly negative.
    values = values.clip(0)
    found = [(turned / (values + ridge * scale)) @ vectors.T for ridge in ridges]
    twins, factors = _twins(gram, kept, removed)
    for prediction in found:
        prediction[twins] = factors
    return found


def _twins(gram: Array, kept: Indices, removed: Indices) -> tuple[NDArray[np.bool_], Array]:
    """Which removed responses are multiples of kept ones, and their rows of A."""
    cross, own = gram[np.ix_(removed, kept)], np.diagonal(gram)
    norms = np.sqrt(np.outer(own[removed], own[kept]))
    cosines = np.divide(cross, norms, out=np.zeros_like(cross), where=norms > 0)
    best = np.argmax(np.abs(cosines), axis=1)
    rows = np.arange(len(removed))
    twins = 1 - cosines[rows, best] ** 2 <= _TWINS
    factors = np.zeros_like(cross)
    factors[rows[twins], best[twins]] = cross[rows, best][twins] / own[kept][best[twins]]
    return twins, factors[twins]


def squared_error(
    gram: Array, kept: Indices, removed: Indices, prediction: Array, weight: Array
) -> float:
    """The reader's squared error tr(W_R E W_R^T) when A z_K takes the place of z_R.

    Args:
        gram, kept, removed: as for ``predict_removed``.
        prediction: the matrix A, shape (r, k); zeros for a reader without compensation.
        weight: the reader's weights of the removed responses, W_R, shape (outputs, r).

    Returns:
        The sum over samples and outputs, at least 0.
    """
    # The error is W_R [I, -A] G [I, -A]^T W_R^T; each row of W_R [I, -A] is one output.
    both = np.concatenate([removed, kept])
    rows = np.concatenate([weight, -weight @ prediction], axis=1)
    return max(0.0, float(np.sum((rows @ gram[np.ix_(both, both)]) * rows)))


def choose_ridge(
    halves: tuple[Array, Array], kept: Indices, removed: Indices, weight: Array
) -> float | None:
    """The ridge with the smallest error on held-out samples; the larger one in a tie.

    Args:
        halves: the Gram matrices of two halves of the samples.
        kept, removed, weight: as for ``squared_error``.

    Returns:
        A value of ``RIDGES``; None if no value is better than no compensation.

    Raises:
        ValueError: when a Gram matrix holds NaN or infinity.
    """
    errors = np.zeros(len(RIDGES))
    without = 0.0
    # The outputs enter by the matrix W_R^T W_R only; a square root of it has r rows, not more.
    small: Array = weight
    if len(weight) > weight.shape[1] > 0:
        small = np.asarray(np.linalg.qr(weight, mode="r"))
    for fitted, held_out in (halves, halves[::-1]):
        predictions = predict_removed(fitted, kept, removed, RIDGES)
        errors += [squared_error(held_out, kept, removed, a, small) for a in predictions]
        nothing = np.zeros((len(removed), len(kept)))
        without += squared_error(held_out, kept, removed, nothing, small)
    best = int(np.argmin(errors))
    return RIDGES[best] if errors[best] < without else None
