"""SVD: two thin layers in place of one, from the weights alone (method card).

Idea: a weight matrix of low rank is a product of two thin ones. The baseline for DALR, without
images.
Formula: W = L S R' with singular values s_1 >= s_2 >= ...; a layer with the weights sqrt(S_k) R_k',
then a pointwise one with L_k sqrt(S_k) and the bias b. The error ||W - W_k||^2 is the sum of the
discarded s_i^2, the smallest possible one for rank k. k is the smallest rank whose s_i^2 sum to a
share ``--energy`` of all (0.95 by default); a budget searches this share.
Cost: one singular value decomposition for each layer.
When it does not help: directions of the weights that the target's images never use count like all
others. It saves parameters only where k(d + n) is less than n d, as for DALR. The singular values
of trained layers fall slowly, so at 0.95 few layers are replaced.

Denton et al. 2014 and Xue et al. 2013 (restructuring by singular values); the baseline in Masana et
al., ICCV 2017.
"""

from __future__ import annotations

from workbench.compression.factorisation import algebra
from workbench.compression.factorisation.algebra import Array, SizeChoices, TwoLayers
from workbench.compression.factorisation.factor_method import Moments


def choices(weight: Array, _moments: Moments) -> SizeChoices:
    """Ranks by the squared singular values of the weights."""
    return algebra.weight_choices(weight)


def weights(weight: Array, bias: Array | None, rank: int, _moments: Moments) -> TwoLayers:
    """The closest product of this rank."""
    return algebra.from_weights(weight, bias, rank)
