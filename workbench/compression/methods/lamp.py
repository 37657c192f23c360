"""Layer-adaptive magnitude: squared norms relative to the larger ones of a layer (method card).

Idea: norms of different layers are not comparable. The score divides the squared norm of a filter
by the sum of the squared norms of this and all larger filters of its layer.
Formula: sort the filters of a layer by norm. s_i = ||w_i||^2 / (sum of ||w_j||^2 over filter i and
all filters before it in descending order). The largest filter of each layer has s = 1. The filters
of all layers are ranked together; those with the largest s are kept.
Cost: one pass over the weights; no images.
When it does not help: as for ``fp``, batch norm rescales every filter, so that norms say little. In
a layer of n equal filters the scores are 1, 1/2, ..., 1/n, so a wide layer loses a larger share.

Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", ICLR 2021, equation 2. The
paper scores single weights; scoring filters is what Torch-Pruning offers under this name. The
squared norms of coupled layers are added (Torch-Pruning averages them and counts the reading
layers, too).
Measured at 10 % of the FLOPs (docs/results/bench-R1-S1-0.1-flops.md): 85.1 % on R1, 93.7 % on S1;
with --min-share 0 78.8 and 93.0 %.
"""

from __future__ import annotations

import numpy as np

from workbench.compression.evidence.evidence import Array, Evidence


def scores(evidence: Evidence) -> Array:
    """Shape (n,): share of each filter's squared norm, in [0, 1]; the largest are kept.

    A filter without any weight has score 0.
    """
    squares: Array = np.square(evidence.weights, dtype=np.float64).sum(axis=1)
    order = np.argsort(-squares, kind="stable")
    left = np.cumsum(squares[order])
    shares: Array = np.zeros_like(squares)
    shares[order] = np.divide(squares[order], left, out=np.zeros_like(left), where=left > 0)
    return shares
