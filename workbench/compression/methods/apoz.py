"""Average percentage of zeros (method card).

Idea: a filter that is silent after ReLU for nearly all images can go.
Formula: z_i = share of zeros after ReLU over all images and places. A filter goes when z_i lies
more than c standard deviations above the mean of its layer (the paper takes c = 1); for a budget
c is searched. Selection: the smallest z stay.
Cost: one more pass over the target's images.
When it does not help: batch norm keeps most filters silent about half of the time, so the layers'
distributions are narrow and c must fall far to reach small networks. After another activation
than ReLU nothing is zero: what is counted is the share that is not positive before it.

Hu et al., "Network Trimming", 2016 (arXiv 1607.03250), sections 3.1 and 3.2. The paper trims and
trains in turns; here it is done once, as for the other methods.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.compression.evidence import Array, Evidence
from workbench.compression.recipe_options import RecipeOptions

_ROUNDING = 1e-9


def counts(evidence: Sequence[Evidence], options: RecipeOptions) -> list[int]:
    """Filters of each group at most the threshold's deviations above its mean; at least one."""
    assert options.threshold is not None  # set by the budget
    limit = options.threshold + _ROUNDING
    return [max(1, int(np.count_nonzero(_deviations(group) <= limit))) for group in evidence]


def thresholds(evidence: Sequence[Evidence], options: RecipeOptions) -> Array:
    """All deviations at which any group's keep count changes, ascending."""
    return np.unique(np.concatenate([_deviations(group) for group in evidence]))


def scores(evidence: Evidence) -> Array:
    """Shape (n,): how often each filter speaks; the largest stay."""
    assert evidence.zeros is not None  # measured where a method needs it
    return 1.0 - evidence.zeros


def _deviations(evidence: Evidence) -> Array:
    """Standard deviations above the layer's mean; 0 where all filters are alike."""
    assert evidence.zeros is not None  # measured where a method needs it
    centred = evidence.zeros - evidence.zeros.mean()
    spread = centred.std()
    deviations: Array = centred / spread if spread > _ROUNDING else np.zeros_like(centred)
    return deviations
