"""Filter pruning by a first-order Taylor expansion of the loss (method card).

Idea: the more the loss on the target's labels changes without a filter, the more it is needed.
Formula: a gate g_i = 1 multiplies filter i wherever a layer reads it. dl/dg_i is the sum, over
these layers and over positions, of the filter's value times the gradient of an image's
cross-entropy l by it. s_i = mean over images of (dl/dg_i)^2. The filters of all layers are ranked
together; those with the largest s are kept.
Choices: the paper squares the mean gradient of a mini-batch and averages over mini-batches, or
squares each image's gradient ("FG" in its table 1). Here each image is squared, so the score does
not depend on the batches. The paper puts a gate after the batch norm; here it is at the inputs of
the layers that read the filter, because rebuilding cuts these, so a stream of additions and a
flatten need no special case. The paper removes a few filters at a time while it trains; here all
are removed at once (or in the steps of ``--steps``).
Cost: one more forward and backward pass over the target's images, with gradients of activations
only. It needs the target's labels, so the source must have the target's classes.
When it does not help: the expansion holds for small changes, but removing most filters is a large
one. A network that is certain of every image has gradients near zero, and then noise ranks the
filters. Redundant filters share their importance: each may look needless alone (``ccp`` looks at
pairs).

Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, section 3. Reported
there: ResNet-101 on ImageNet loses 0.02 points at 60 % of the FLOPs.
Measured at 10 % of the FLOPs (docs/results/bench-R1-S1-0.1-flops.md): 85.8 % on R1, 94.0 % on S1;
with --min-share 0 18.3 and 87.8 %.
"""

from __future__ import annotations

from workbench.compression.evidence.evidence import Array, Evidence


def scores(evidence: Evidence) -> Array:
    """Shape (n,): mean squared gradient of the loss by each filter's gate; the largest are kept."""
    return evidence.measured["loss_change"]
