"""HRank: filters whose feature maps have a low rank (method card).

Idea: a feature map is a matrix. If its rank is low, it carries little information. The average rank
of a filter's maps hardly depends on the images.
Formula: s_i = mean over images of the rank of filter i's map (h x w), after ReLU; the filters with
the largest s are kept. All layers keep the same share, whereas the paper chooses shares by hand.
Where the rank is measured: at the filter group's response or, if a batch norm reads it directly, at
the output of the batch norm; negative values count as zero. Before ReLU nearly every map has full
rank. For a hidden layer a map is one value, or one value per token: its rank is 1 unless all are 0.
Cost: one more pass over at most 500 images (the paper's number), evenly spaced in the target's
training images, and a singular value decomposition of every map. It takes longest for large images.
When it does not help: where maps are small (4 x 4 or 1 x 1, as in the last layers of VGG), ranks
have few values, many filters tie, and the first of them are kept. It keeps both of two
filters with the same maps.

Lin et al., "HRank: Filter Pruning using High-Rank Feature Map", CVPR 2020, equation 5. Reported
there: ResNet-110 on CIFAR-10 loses 0.14 points with 42 % of the FLOPs.
Measured at 10 % of the FLOPs (docs/results/bench-R1-S1-0.1-flops.md): 84.5 % on R1, 94.3 % on S1.
"""

from __future__ import annotations

from workbench.compression.evidence.evidence import Array, Evidence


def scores(evidence: Evidence) -> Array:
    """Shape (n,): average rank of each filter's feature map; the largest are kept."""
    return evidence.measured["map_rank"]
