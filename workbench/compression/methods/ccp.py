"""Collaborative channel pruning: which filters are cheap to remove together (method card).

Idea: if two filters do the same, one of them can be removed, but not both. So filters are chosen
together, by a second-order expansion of the loss.
Formula: with r_i = 1 for a removed filter, the loss on the target's labels changes by
sum_i u_i r_i + sum_ij S_ij r_i r_j. For an image with probabilities p, the change of logit c with
the gate of filter i (``measurements.filter_gates``) is d_ic; then u_i = -E[sum_c d_ic (p_c - y_c)]
and S = E[d A d'] / 2 with A = diag(p) - p p', the Gauss-Newton approximation. As r_i^2 = r_i, u can
be added to the diagonal of S. The method looks for the choice of k kept filters with
the smallest change: a quadratic problem in zeros and ones.
Solver: three choices (the filters that are cheapest to remove alone; removed one after the other;
added one after the other), each improved by swapping the pair that lowers the change most, until no
swap lowers it. The best of the three is a local minimum. In the tests, on up to 16 filters, it is
the best of all choices in nearly every case. Filters that grouped convolutions divide into blocks
are chosen block by block.
Cost: for a target of C classes, one forward and C backward passes over at most 512 images, evenly
spaced, and a matrix n x n for each layer. It needs the target's labels, so the source must have the
target's classes. For 1000 classes, that is 1000 backward passes.
When it does not help: the expansion holds for small changes, but removing most filters is a large
one. It ignores interactions between layers. All layers keep the same share, as in the paper.

Peng et al., "Collaborative Channel Pruning for Deep Networks", ICML 2019 (PMLR 97:5113). The paper
solves the problem by convex optimisation; its code is not public. The gates are at the inputs of
the layers that read a filter.
Measured at 10 % of the FLOPs (docs/results/bench-R1-S1-0.1-flops.md): 85.1 % on R1, 91.8 % on S1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workbench.compression.evidence.evidence import Array, Evidence, Indices
from workbench.compression.recipes.recipe_options import RecipeOptions

Mask = NDArray[np.bool_]
#: A swap must lower the change of the loss by this share of the largest entry.
_TOLERANCE = 1e-12


def choose(evidence: Evidence, block: Indices, keep: int, options: RecipeOptions) -> Indices:
    """Select filters of a block whose removal together changes the loss least.

    Args:
        evidence: the evidence on the filter group.
        block: indices of the filters to choose from.
        keep: number of filters to keep.
        options: not used.
    """
    costs = evidence.measured["pair_loss"][np.ix_(block, block)]
    return block[cheapest_choice(costs, keep)]


def cheapest_choice(costs: Array, keep: int) -> Indices:
    """The best local minimum, of several starts, of the loss's change with ``keep`` filters.

    Args:
        costs: shape (n, n), symmetric; the change without the filters in R is the sum of
            ``costs[i, j]`` over i and j in R.
        keep: number of filters to keep, in 1..n.

    Returns:
        The kept filters, ascending.
    """
    starts = (_one_by_one(costs, keep), _removed_in_turn(costs, keep), _added_in_turn(costs, keep))
    found = [_swapped(costs, start) for start in starts]
    changes = [float(costs[np.ix_(~kept, ~kept)].sum()) for kept in found]
    return np.flatnonzero(found[int(np.argmin(changes))])


def _one_by_one(costs: Array, keep: int) -> Mask:
    """Keep the filters that are most expensive to remove alone."""
    kept = np.zeros(len(costs), dtype=bool)
    kept[np.argsort(-np.diagonal(costs), kind="stable")[:keep]] = True
    return kept


def _removed_in_turn(costs: Array, keep: int) -> Mask:
    """Remove the cheapest filter, then the cheapest in addition to it, and so on."""
    kept, together = np.ones(len(costs), dtype=bool), np.zeros(len(costs))
    for _ in range(len(costs) - keep):
        change = np.where(kept, np.diagonal(costs) + 2 * together, np.inf)
        out = int(np.argmin(change))
        kept[out] = False
        together += costs[:, out]
    return kept


def _added_in_turn(costs: Array, keep: int) -> Mask:
    """Begin without any filter, and add the one that lowers the change most, again and again."""
    kept, together = np.zeros(len(costs), dtype=bool), costs.sum(axis=1)
    for _ in range(keep):
        change = np.where(kept, np.inf, np.diagonal(costs) - 2 * together)
        back = int(np.argmin(change))
        kept[back] = True
        together -= costs[:, back]
    return kept


def _swapped(costs: Array, kept: Mask) -> Mask:
    """Swap a kept filter and a removed one, the best pair first, while that lowers the change."""
    kept, alone = kept.copy(), np.diagonal(costs)
    smallest = -_TOLERANCE * max(1e-300, float(np.abs(costs).max()))
    together = costs @ ~kept
    while not kept.all():
        outs, ins = np.flatnonzero(kept), np.flatnonzero(~kept)
        going, coming = alone[outs] + 2 * together[outs], alone[ins] - 2 * together[ins]
        changes = going[:, None] + coming - 2 * costs[np.ix_(outs, ins)]
        best = np.unravel_index(np.argmin(changes), changes.shape)
        if changes[best] >= smallest:
            break
        out, back = outs[best[0]], ins[best[1]]
        kept[out], kept[back] = False, True
        together += costs[:, out] - costs[:, back]
    return kept
