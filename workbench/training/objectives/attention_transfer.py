"""Attention transfer: the small network attends to the same places of the image (method card).

Idea: the places where a layer responds strongly show what the network attends to. The places do not
depend on the number of channels, so networks of different widths can be compared.
Formula: Q = vec(mean over channels of A^2), divided by its Euclidean norm, for the map A of each
image; loss = mean over images and places of (Q_S - Q_T)^2, summed over the layers, with weight
1000.
Layers: the input of the last convolution at each spatial resolution of at least 16 places
(``matched_layers``). The mean over places gives smaller maps a larger weight: with a map of four
places, which published networks do not compare, trainings on digits ended at chance accuracy.
Cost: one pass of the teacher; the comparison costs less than one layer.
When it does not help: where the class does not depend on the place. On CIFAR-100 (VGG-13 to
VGG-8), 71.4 % against 73.0 % of plain soft targets (RepDistiller's table).

Zagoruyko, Komodakis, "Paying More Attention to Attention", ICLR 2017 (arXiv 1612.03928), section
3.1; the weight is that of RepDistiller (Tian, Krishnan, Isola, ICLR 2020).
"""

from __future__ import annotations

from torch import Tensor

from workbench.training.objectives.unit_rows import unit_rows

WEIGHT = 1000.0


def attention_loss(ours: Tensor, theirs: Tensor) -> Tensor:
    """Compare the attention of both networks; the order and number of channels have no effect.

    Args:
        ours, theirs: shapes (b, channels, height, width); the channels may differ.
    """
    return (_attention(ours) - _attention(theirs)).square().mean()


def _attention(maps: Tensor) -> Tensor:
    """Shape (b, height x width), rows of length 1; 0 for a map of zeros."""
    return unit_rows(maps.square().mean(dim=1).flatten(1))
