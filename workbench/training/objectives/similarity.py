"""Similarity-preserving distillation: images that resemble each other still do (method card).

Idea: which images of a batch cause similar features is independent of the network's width, and is
information that one label an image does not hold.
Formula: G = F F^T of the flattened features F, shape (b, b), rows divided by their Euclidean norm;
loss = ||G_T - G_S||^2 / b^2, with weight 3000.
Layer: the last map before the classifier (``matched_layers``).
Cost: one pass of the teacher, and b^2 products of feature vectors.
When it does not help: with small batches (the loss of one image is 0). On CIFAR-100 (VGG-13 to
VGG-8), 72.7 % against 73.0 % of plain soft targets (RepDistiller's table).

Tung, Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019 (arXiv 1907.09682),
equations 2 to 4; the weight is that of RepDistiller.
"""

from __future__ import annotations

from torch import Tensor

from workbench.training.objectives.unit_rows import unit_rows

WEIGHT = 3000.0


def similarity_loss(ours: Tensor, theirs: Tensor) -> Tensor:
    """Compare the similarities of all pairs of images; the channels' order has no effect.

    Args:
        ours, theirs: shapes (b, channels, ...); only b must agree.
    """
    return (_similarities(ours) - _similarities(theirs)).square().mean()


def _similarities(features: Tensor) -> Tensor:
    """Shape (b, b), rows of length 1; an image whose features are all 0 has a row of zeros."""
    rows = features.flatten(1)
    return unit_rows(rows @ rows.T)
