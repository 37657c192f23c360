"""FitNets: the kept channels respond as the teacher's same channels do (method card).

Idea: a hint from the middle of the teacher guides the first half of the student. FitNets learn a
regressor that maps the student's channels to the teacher's. A compressed network needs no
regressor: each of its channels is one of the teacher's, so the two are compared directly.
Formula: loss = mean of (F_S - F_T[kept])^2 over images, channels and places, with weight 100.
Layer: the input of the middle one of the maps (``matched_layers``); only channels that both
networks have are compared.
Cost: one pass of the teacher.
When it does not help: the student cannot exactly reproduce channels whose inputs were removed, and
this loss may prevent a better use of the remaining filters. On CIFAR-100 (VGG-13 to VGG-8, with a
regressor), 71.0 % against 73.0 % of plain soft targets (RepDistiller's table).

Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015 (arXiv 1412.6550), equation 3; the
weight, and training with labels and hints at the same time, are RepDistiller's.
"""

from __future__ import annotations

from torch import Tensor

WEIGHT = 100.0


def hint_loss(ours: Tensor, theirs: Tensor) -> Tensor:
    """Mean squared difference of channels that correspond; 0 if there are none.

    Args:
        ours, theirs: equal shapes (b, channels, ...), channel by channel the same filters.
    """
    squares = (ours - theirs).square()
    return squares.sum() / max(1, squares.numel())
