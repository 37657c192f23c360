"""Estimate the statistics of batch norms again, for weights that were not trained with them.

The mean and the variance of each batch norm are averages over one pass through the training
images, in random order and without augmentation. All other layers work as in evaluation (no
dropout). Batches have equal sizes, up to one image, so that no small batch has too much weight.
"""

from __future__ import annotations

import torch
from torch import nn

from workbench.data.augmentation import Scale, normalise
from workbench.data.image_batches import Feed
from workbench.models.processor import exact_fp32
from workbench.training.plans import derive_seed

#: Fewest images per batch, as far as there are that many: variances of small batches are noisy.
_LEAST_BATCH = 64


def estimate_norms(
    model: nn.Module, feed: Feed, images: int, source: Scale, *, batch_size: int, seed: int
) -> None:
    """Replace the running statistics of all batch norms, in place; weights do not change.

    Args:
        model: a network on its device; it is left in evaluation mode.
        feed: the training's images.
        images: their number, at least 2.
        batch_size: images of a batch at most, or 64 if that is more.
        seed: determines the order of the images.
    """
    norms = [
        part
        for part in model.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is not None
    ]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch then averages all batches equally
        norm.train()
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(derive_seed(seed, "norms"))
    sizes = equal_sizes(images, max(batch_size, _LEAST_BATCH))
    with torch.no_grad(), exact_fp32(device.type):
        for inputs, _ in feed(sizes, False, generator):
            model(normalise(inputs, source))
    model.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def equal_sizes(images: int, most: int) -> list[int]:
    """Sizes of the fewest batches of at most ``most`` images that differ by at most one."""
    count = -(-images // most)
    small, larger = divmod(images, count)
    return [small + 1] * larger + [small] * (count - larger)
