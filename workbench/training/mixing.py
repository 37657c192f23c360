"""Mixup and CutMix: train on mixtures of two images of a batch (method card).

Idea: a network that predicts the shares of two images in a mixture overfits less to single images,
and behaves more linearly between them.
Formula: with a partner x' of each image x, from a random permutation of the batch, and a share s
drawn from Beta(alpha, alpha) for the batch, mixup trains on s x + (1 - s) x'. CutMix replaces a
rectangle of x by that of x'. Its sides are sqrt(1 - s) of the image's, its centre is uniform, and
it is cut off at the border; s is then the share of x that is left. Both use the label
s y + (1 - s) y'. If both are chosen, a coin decides for each batch.
Cost: a gather and a multiply-add per pixel; more epochs to reach the same training loss.
When it does not help: in short trainings, and for networks too small to fit the training images.
With a teacher both see the same mixture, and more mixing rarely hurts.

The random numbers depend on (seed, epoch) alone, so an interrupted training continues with the same
mixtures. Order and views of the images are the same as without mixing.

Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018. Yun et al., "CutMix:
Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from workbench.training.plans import Plan, derive_seed


@dataclass(frozen=True, eq=False)
class Mixture:
    """How the images of one batch are mixed.

    Attributes:
        partners: int64, shape (b,): the partner of each image, a permutation.
        share: of the image itself, in [0, 1].
        box: rows and columns (top, bottom, left, right) that CutMix takes from the partner; None
            for mixup.
    """

    partners: Tensor
    share: float
    box: tuple[int, int, int, int] | None = None

    def images(self, inputs: Tensor) -> Tensor:
        """Mix normalised images, shape (b, c, h, w)."""
        others = inputs[self.partners]
        if self.box is None:
            return inputs * self.share + others * (1 - self.share)
        top, bottom, left, right = self.box
        mixed = inputs.clone()
        mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
        return mixed


class Mixer:
    """Draws the mixtures of one epoch, batch by batch."""

    def __init__(self, plan: Plan, seed: int, epoch: int) -> None:
        """Seed the random numbers of an epoch.

        Args:
            plan: ``mixup`` and ``cutmix`` are the alphas; 0 is off. One of them is on.
        """
        self._mixup, self._cutmix = plan.mixup, plan.cutmix
        self._random = np.random.default_rng(derive_seed(seed, "mixing", epoch))

    def draw(self, inputs: Tensor) -> Mixture:
        """Draw the mixture of a batch of images, shape (b, c, h, w)."""
        count, _, height, width = inputs.shape
        cut = self._cutmix > 0 and (not self._mixup or self._random.random() < 0.5)
        alpha = self._cutmix if cut else self._mixup
        share = float(self._random.beta(alpha, alpha))
        partners = torch.from_numpy(self._random.permutation(count)).to(inputs.device)
        if not cut:
            return Mixture(partners, share)
        centre = (self._random.random() * height, self._random.random() * width)
        box = cut_box(share, height, width, centre)
        top, bottom, left, right = box
        return Mixture(partners, 1 - (bottom - top) * (right - left) / (height * width), box)


def mixer_of(plan: Plan, seed: int, epoch: int) -> Mixer | None:
    """The mixer of an epoch; None if the plan does not mix."""
    return Mixer(plan, seed, epoch) if plan.mixup or plan.cutmix else None


def label_loss(logits: Tensor, labels: Tensor, smoothing: float, mixture: Mixture | None) -> Tensor:
    """Mean cross-entropy with the labels, or with those of a mixture.

    Args:
        logits, labels: shape (b, classes) and (b,).
        smoothing: share of the label that is spread over all classes.
        mixture: None for images that are not mixed.
    """
    own = nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    if mixture is None:
        return own
    others = labels[mixture.partners]
    other = nn.functional.cross_entropy(logits, others, label_smoothing=smoothing)
    return mixture.share * own + (1 - mixture.share) * other


def cut_box(
    share: float, height: int, width: int, centre: tuple[float, float]
) -> tuple[int, int, int, int]:
    """The rectangle of CutMix: top, bottom, left, right, inside the image.

    Args:
        share: part of the area that stays, before the rectangle is cut off at the border.
        centre: row and column, in pixels.
    """
    side = math.sqrt(1 - share)
    (top, bottom), (left, right) = (
        (
            min(max(round(middle - side * size / 2), 0), size),
            min(max(round(middle + side * size / 2), 0), size),
        )
        for middle, size in zip(centre, (height, width), strict=True)
    )
    return top, bottom, left, right
