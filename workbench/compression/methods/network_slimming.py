"""Network slimming: the scales of batch norms, one threshold for all layers (method card).

Idea: train the source network with an L1 penalty on the scales of its batch norms. Filters whose
scales the penalty drives to nearly zero are not needed.
Formula: s_i = |gamma_i|. The filters of all layers are ranked together, and those with the largest
s are kept; ties go to earlier layers. So the ranking determines both how many filters a layer
keeps and which.
Source training: loss + lambda sum |gamma|, with lambda = 1e-4 as for the paper's VGG, and 1e-5 for
our residual networks as for the paper's. All networks of other libraries and users get 1e-4. The
paper initialises the scales to 0.5; here they start at 1, torch's default.
Cost: the source network must be trained with the penalty (``workbench train --sparsity 1e-4``); no
further cost.
When it does not help: in networks trained without the penalty, the scales of different layers
are not comparable. One threshold may leave a layer with a single filter. The method does not use
the target's images. A layer without batch norm is an error.

Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017,
section 3. If several batch norms follow the same filters, their mean is used.
"""

from __future__ import annotations

from workbench.compression.evidence.evidence import Array, Evidence
from workbench.errors import NetworkError


def scores(evidence: Evidence) -> Array:
    """Shape (n,): absolute scales; the largest are kept.

    Raises:
        NetworkError: when no batch norm follows the filters.
    """
    if evidence.scales is None:
        raise NetworkError(no_scales(evidence.group.name))
    return evidence.scales


def no_scales(layer: str) -> str:
    """The error message for a layer that no batch norm follows."""
    return (
        f"layer '{layer}' has no batch norm with scales, which network-slimming needs; use fp or "
        "fpgm"
    )
