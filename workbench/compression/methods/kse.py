"""Kernel sparsity and entropy: filters whose readers have weak or similar kernels (method card).

Idea: a feature map is needed if the 2-D kernels that read it are strong, and differ from each
other. Both can be read from the weights.
Formula: a layer reads input channel c with N kernels W_nc. Sparsity s_c = sum_n ||W_nc||_1. With
d_n the sum of distances from W_nc to its 5 nearest kernels of this channel, and p_n = d_n / sum d,
the entropy is e_c = -sum_n p_n log2 p_n. Both are scaled to [0, 1] over the channels of the layer;
v_c = sqrt(s_c / (1 + e_c)), which is scaled to [0, 1] again. The score of a filter is the mean of v
over all layers that read it. The filters of all layers are ranked together, and those
with the largest scores are kept.
Details: a layer of N <= 5 kernels uses N - 1 neighbours. If all kernels are equal, e = 0. If all
channels of a layer are equal, v = 1. After a flatten, the kernel of a filter and an output is the
h x w weights between them. A stream of full width (padded shortcuts) has no kernels: v = 1.
Cost: O(C N^2 k^2) per reading layer, without images; 7 seconds of one core for VGG-16.
When it does not help: the entropy rewards similar distances, so channels with one outlying kernel
get a low entropy and a high score, even if all other kernels are the same. It uses no images, and
batch norm before the reader rescales the channel, which the weights do not show.

Li et al., "Exploiting Kernel Sparsity and Entropy for Interpretable CNN Compression", CVPR 2019,
section 3. From the paper, not from its public code, whose entropy mixes kernels of several
channels. The paper also replaces the kernels of the channels that stay by a few centroids, which
saves bytes but no time; that is the stage ``kernel-clustered`` of ``workbench.deployment``.
Reported there, with it: ResNet-50 on ImageNet loses 0.35 points of top-5 accuracy with 4.7 times
fewer FLOPs.
Measured at 10 % of the FLOPs (docs/results/bench-R1-S1-0.1-flops.md): 82.7 % on R1, 91.2 % on S1.
"""

from __future__ import annotations

from workbench.compression.evidence.evidence import Array, Evidence


def scores(evidence: Evidence) -> Array:
    """Shape (n,): mean indicator of each filter in its readers, in [0, 1]; the largest are kept."""
    return evidence.measured["kernel_indicator"]
