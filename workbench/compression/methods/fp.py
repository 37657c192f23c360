"""Filter pruning by L1 norm (method card).

Idea: a filter with small weights responds weakly, so it can be removed.
Formula: s_i = sum |w_i|, over all weights of filter i; the filters with the smallest s are removed
first. All layers keep the same share, whereas the paper chooses one share for each stage.
Cost: one pass over the weights; no images.
When it does not help: batch norm rescales every filter, so the norm of its weights is a weak sign
of its importance. The method does not use the target's images.

Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, section 3.1. The norms of coupled
layers are added, whereas the paper uses only the projection shortcut.
"""

from __future__ import annotations

import numpy as np

from workbench.compression.evidence.evidence import Array, Evidence


def scores(evidence: Evidence) -> Array:
    """Shape (n,): L1 norm of each filter; the largest are kept."""
    norms: Array = np.abs(evidence.weights).sum(axis=1, dtype=np.float64)
    return norms
