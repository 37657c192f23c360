"""Which filters: the least redundant ones (method card).

Idea: the filter whose responses follow the others' most closely is missed least. Remove it,
and look again at those that are left.

Formula: until k filters are left, remove the one with the largest sum over the remaining j of
|rho_ij|; on a tie the one with the highest single |rho_ij|; on a further tie the lowest index.
Sums and values within 1e-12 (relative) are equal.
Cost: O(n^2) to sum once, O(n) a removal: the removed filter's column is subtracted.
When it does not help: correlation is blind to what the filters are worth to the classifier.

Paper: section 3.3. Apple's dnikit 2.0.0 ties at 1e-5 and can then remove another filter;
counts agree with it, index lists need not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.pfa.covariance import Array, check_square

_TIE = 1.0 - 1e-12


def select_filters(correlation: ArrayLike, keep: int) -> NDArray[np.int64]:
    """Indices of the filters that are *kept*.

    Inactive filters (zero on the diagonal) are removed before any other, lowest index first.

    Args:
        correlation: shape (n, n), Pearson correlation as ``pfa.correlation`` gives it.
        keep: number of filters to keep, 1 to n.

    Returns:
        The kept indices, ascending, shape (keep,).

    Raises:
        ValueError: if the matrix is not a correlation or ``keep`` is outside 1 to n.
    """
    rho = check_square(correlation)
    n = len(rho)
    if not 1 <= keep <= n:
        raise ValueError(f"keep must lie between 1 and {n}, not {keep}")
    if np.abs(rho).max() > 1 + 1e-9:
        raise ValueError("a correlation lies between -1 and 1")
    inactive = np.flatnonzero(np.diagonal(rho) == 0)[: n - keep]
    kept = np.ones(n, dtype=bool)
    kept[inactive] = False
    if keep < kept.sum():
        active = np.flatnonzero(kept)
        removed = _most_redundant(rho[np.ix_(active, active)], len(active) - keep)
        kept[active[removed]] = False
    return np.flatnonzero(kept)


def _most_redundant(rho: Array, number: int) -> NDArray[np.int64]:
    """The first ``number`` filters to go, in the order in which they go."""
    strength = np.abs((rho + rho.T) / 2)
    np.fill_diagonal(strength, 0.0)
    sums = strength.sum(axis=1)
    # What each subtraction rounds off is kept and added back (Kahan): thousands of removals
    # would otherwise drift past the 1e-12 within which sums count as equal.
    carry = np.zeros_like(sums)
    partner = _last_strongest(strength)
    remaining = np.ones(len(sums), dtype=bool)
    removed = np.empty(number, dtype=np.int64)
    for step in range(number):
        exact = np.where(remaining, np.maximum(sums + carry, 0.0), -1.0)
        tied = np.flatnonzero(exact >= exact.max() * _TIE)
        if len(tied) > 1:
            single = strength[tied, partner[tied]]
            tied = tied[single >= single.max() * _TIE]
        gone = removed[step] = tied[0]
        remaining[gone] = False
        less = sums - strength[gone]
        carry += (sums - less) - strength[gone]
        sums = less
        # Zeroing the column takes the filter out of every later "strongest partner".
        strength[:, gone] = 0.0
        stale = np.flatnonzero(remaining & (partner == gone))
        if len(stale):
            partner[stale] = _last_strongest(strength[stale])
    return removed


def _last_strongest(strength: Array) -> NDArray[np.int64]:
    """For each row the *last* index of its maximum.

    Ties fall to the lowest index, so the last of several equal partners lives longest and the
    rows that point at it seldom have to look for another.
    """
    last: NDArray[np.int64] = strength.shape[1] - 1 - np.argmax(strength[:, ::-1], axis=1)
    return last
