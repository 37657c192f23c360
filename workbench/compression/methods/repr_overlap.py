"""RePr's criterion: filters that overlap with the other filters of their layer (method card).

Idea: a filter whose weights point in the direction of others adds little. It is PFA's selection in
the space of weights instead of responses, so the two differ only in this.
Formula: W = rows w_i / ||w_i||, P = |W W' - I|, O_i = sum_j P_ij / n. The filters of all layers are
ranked together; those with the smallest O are kept. A filter without any weight has O = 1.
Cost: O(n^2 d) per layer; no images.
When it does not help: random directions overlap more where filters have few weights (about
sqrt(2 / (pi d))), so one ranking removes most filters of the layers with few inputs, such as the
first one. Filters with parallel weights may differ after batch norm.

Prakash et al., "RePr: Improved Training of Convolutional Filters", CVPR 2019, section 4. Only the
criterion is used: the paper removes 30 % of the filters for some epochs and then puts them back
with new weights, in order to train a network of the same size better.
Measured at 10 % of the FLOPs (docs/results/bench-R1-S1-0.1-flops.md): 74.4 % on R1, 89.0 % on S1;
with --min-share 0 19.7 and 61.8 %.
"""

from __future__ import annotations

import numpy as np

from workbench.compression.evidence.evidence import Array, Evidence


def scores(evidence: Evidence) -> Array:
    """Shape (n,): 1 - mean overlap with all filters of the layer; the largest are kept."""
    rows = np.asarray(evidence.weights, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1)
    empty = norms == 0
    rows = rows / np.where(empty, 1.0, norms)[:, None]
    overlaps = np.abs(rows @ rows.T)
    np.fill_diagonal(overlaps, 0.0)
    means: Array = overlaps.mean(axis=1)
    return np.where(empty, 0.0, 1.0 - means)
