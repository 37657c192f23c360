"""Filter pruning via the geometric median (method card).

Idea: a filter near the middle of its layer can be replaced by the others, however large it is.
Formula: s_i = sum_j ||w_i - w_j||, Euclidean; the smallest, nearest to the geometric median, go
first. All layers keep the same share, as in the paper.
Cost: O(n^2 d) a layer; no images.
When it does not help: filters that are near in weights may differ after batch norm, and it knows
nothing of the target.

He et al., "Filter Pruning via Geometric Median", CVPR 2019, section 3.4.
"""

from __future__ import annotations

from workbench.compression.evidence import Array, Evidence


def scores(evidence: Evidence) -> Array:
    """Shape (n,): summed distance of each filter to all of its layer; the largest stay."""
    from scipy.spatial.distance import cdist  # heavy, and only this method needs it

    distances: Array = cdist(evidence.weights, evidence.weights).sum(axis=1)
    return distances
