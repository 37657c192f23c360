"""Filter pruning via the geometric median (method card).

Idea: the other filters can replace a filter near the geometric median of its layer, even if its
weights are large.
Formula: s_i = sum_j ||w_i - w_j||, Euclidean; the filters with the smallest s, which are nearest to
the geometric median, are removed first. All layers keep the same share, as in the paper.
Cost: O(n^2 d) per layer; no images.
When it does not help: filters with similar weights may differ after batch norm. The method does
not use the target's images.

He et al., "Filter Pruning via Geometric Median", CVPR 2019, section 3.4.
"""

from __future__ import annotations

from workbench.compression.evidence.evidence import Array, Evidence


def scores(evidence: Evidence) -> Array:
    """Shape (n,): summed distance of each filter to all in its layer; the largest are kept."""
    from scipy.spatial.distance import cdist  # slow to import, and only this method needs it

    distances: Array = cdist(evidence.weights, evidence.weights).sum(axis=1)
    return distances
