"""Average percentage of zeros (method card).

Idea: a filter whose output after ReLU is zero for nearly all images can be removed.
Formula: z_i = share of zeros after ReLU over all images and positions. A filter is removed when
z_i is more than c standard deviations above the mean of its layer (the paper uses c = 1); for a
budget, c is searched. Selection: the filters with the smallest z are kept.
Cost: one more pass over the target's images.
When it does not help: with batch norm, most filters are zero about half of the time, so the
distributions in the layers are narrow, and small networks need a very low c. Other activations
than ReLU produce no zeros; the share of non-positive inputs of the activation is counted instead.

Hu et al., "Network Trimming", 2016 (arXiv 1607.03250), sections 3.1 and 3.2. The paper alternates
between trimming and training; here filters are removed once, as for the other methods.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.compression.evidence.evidence import Array, Evidence
from workbench.compression.recipes.recipe_options import RecipeOptions

_ROUNDING = 1e-9


def counts(evidence: Sequence[Evidence], options: RecipeOptions) -> list[int]:
    """Filters of each group at most ``threshold`` deviations above its mean; at least one."""
    assert options.threshold is not None  # set by the budget
    limit = options.threshold + _ROUNDING
    return [max(1, int(np.count_nonzero(_deviations(group) <= limit))) for group in evidence]


def thresholds(evidence: Sequence[Evidence], options: RecipeOptions) -> Array:
    """All deviations at which any group's keep count changes, ascending."""
    return np.unique(np.concatenate([_deviations(group) for group in evidence]))


def scores(evidence: Evidence) -> Array:
    """Shape (n,): share of non-zero outputs of each filter; the largest are kept."""
    return 1.0 - evidence.measured["zeros"]


def _deviations(evidence: Evidence) -> Array:
    """Shape (n,): standard deviations above the layer's mean; 0 if all filters are equal."""
    zeros = evidence.measured["zeros"]
    centred = zeros - zeros.mean()
    spread = centred.std()
    deviations: Array = centred / spread if spread > _ROUNDING else np.zeros_like(centred)
    return deviations
