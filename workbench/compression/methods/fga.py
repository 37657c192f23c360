"""FGA: a grouped convolution and a pointwise one in place of a convolution (method card).

Idea: filter group approximation: the filters are split along their input channels, and each part is
replaced by as many filters as it reads channels. g = 1 gives depthwise-separable convolutions.
Formula: the c inputs are split into groups of g channels. The block W_j (n x g k^2) is approximated
by P_j D_j of rank g from its singular value decomposition. All D_j form one convolution c -> c with
c/g groups, and all P_j one pointwise convolution c -> n. The error is the sum of the squared
singular values after the first g of each block; a block of rank at most g is exact. Parameters:
c g k^2 + n c instead of n c k^2. Each layer has the smallest g, a divisor of c, whose blocks keep a
share ``--energy`` of the sum of squares (0.95 by default); a budget searches this share. Where
n > c, even g = c may lose something: a layer whose blocks cannot keep the share stays as it is.
Cost: singular values of each block for each divisor of c.
When it does not help: pointwise and linear layers have nothing to gain. No network is smaller than
that with g = 1, and at g = 1 the blocks of trained layers lose much. Grouped convolutions are
slower than their FLOPs suggest on most processors.

Peng et al., "Extreme network compression via filter group approximation", ECCV 2018 (arXiv
1807.11254). The paper sets one group size for each stage of a network and fine-tunes; here an
equal share of the energy in all layers decides, from weights alone.
"""

from __future__ import annotations

from workbench.compression.factorisation import algebra
from workbench.compression.factorisation.algebra import Array, SizeChoices, TwoLayers
from workbench.compression.factorisation.factor_method import Moments

REVISION = 1  # layers that cannot keep the share stay


def choices(weight: Array, _moments: Moments) -> SizeChoices:
    """Group sizes by what their blocks keep."""
    return algebra.group_choices(weight)


def weights(weight: Array, bias: Array | None, size: int, _moments: Moments) -> TwoLayers:
    """The blocks' best products of rank ``size``."""
    return algebra.from_groups(weight, bias, size)
