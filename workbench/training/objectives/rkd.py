"""Relational distillation: distances and angles between images are the teacher's (method card).

Idea: the relations between a network's embeddings contain its knowledge, not their coordinates.
Relations survive another width, a rotation, a shift and another scale.
Formula: with distances d_ij = ||x_i - x_j|| / mean of the positive distances, and angles
a_ijk = cos of the angle between x_i - x_j and x_k - x_j, loss = 25 mean Huber(d_S, d_T) +
50 mean Huber(a_S, a_T); Huber(u, v) = (u - v)^2 / 2 up to a difference of 1, linear above.
Layer: the embedding, which is the input of the classifier, averaged over places.
Cost: one pass of the teacher. The angles are b^3 numbers (67 MB for 256 images), so they are
computed for at most the first 64 images of a batch.
When it does not help: with batches of one or two images, which have no angles. On CIFAR-100 (VGG-13
to VGG-8), 71.5 % against 73.0 % of plain soft targets (RepDistiller's table).

Park, Kim, Lu, Cho, "Relational Knowledge Distillation", CVPR 2019 (arXiv 1904.05068), equations 5
to 9, with the weights of its section 4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.training.objectives.unit_rows import unit_rows

DISTANCE_WEIGHT, ANGLE_WEIGHT = 25.0, 50.0
#: Most images of a batch whose angles are compared.
MOST_ANGLES = 64


def relation_loss(ours: Tensor, theirs: Tensor) -> Tensor:
    """Compare distances and angles, with their weights.

    Args:
        ours, theirs: embeddings, shapes (b, n) and (b, m).
    """
    return DISTANCE_WEIGHT * distance_loss(ours, theirs) + ANGLE_WEIGHT * angle_loss(ours, theirs)


def distance_loss(ours: Tensor, theirs: Tensor) -> Tensor:
    """Huber loss of the scaled distances; rotations, shifts and scales have no effect.

    Args:
        ours, theirs: embeddings, shapes (b, n) and (b, m).
    """
    return nn.functional.smooth_l1_loss(_distances(ours), _distances(theirs))


def angle_loss(ours: Tensor, theirs: Tensor) -> Tensor:
    """Huber loss of the cosines at each image between each two others, for 64 images at most.

    Args:
        ours, theirs: embeddings, shapes (b, n) and (b, m).
    """
    return nn.functional.smooth_l1_loss(_cosines(ours), _cosines(theirs))


def _distances(points: Tensor) -> Tensor:
    """Shape (b, b), divided by the mean positive distance; 0 if all points are equal."""
    # The mode with a matrix product has rounding errors that depend on a shift of the points.
    apart = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    mean = apart.sum() / (apart > 0).sum().clamp_min(1)
    return torch.where(mean > 0, apart / torch.where(mean > 0, mean, 1.0), 0.0)


def _cosines(points: Tensor) -> Tensor:
    """Shape (b, b, b): at point i, between the directions to j and to k; 0 for equal points."""
    points = points[:MOST_ANGLES]
    directions = unit_rows(points[None] - points[:, None])
    return directions @ directions.transpose(1, 2)
