"""Filter pruning by L1 norm (method card).

Idea: a filter with small weights answers weakly, so it can go.
Formula: s_i = sum |w_i|, over all weights of filter i; the smallest go first. All layers keep the
same share, where the paper chooses one for each stage.
Cost: one pass over the weights; no images.
When it does not help: batch norm rescales every filter, so its norm says little about what it
does; and it knows nothing of the target.

Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, section 3.1. Coupled layers add
their norms, where the paper follows the projection shortcut alone.
"""

from __future__ import annotations

import numpy as np

from workbench.compression.evidence import Array, Evidence


def scores(evidence: Evidence) -> Array:
    """Shape (n,): L1 norm of each filter; the largest stay."""
    norms: Array = np.abs(evidence.weights).sum(axis=1, dtype=np.float64)
    return norms
