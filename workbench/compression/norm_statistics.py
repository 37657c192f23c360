"""Estimate the statistics of batch norms again, without training (method card).

Idea: a network whose weights have been changed has other means and variances than its batch norms
recorded. One pass over images measures them.
Formula: batches of nearly equal size, in random order; while they run, each norm normalises a batch
by the batch's own statistics, as in training. The recorded mean and variance are the averages over
all batches (torch's cumulative average). All norms are estimated in the same pass; dropout and all
else are in evaluation mode. No augmentation and no gradients; the order has a fixed seed.
Cost: one forward pass over the images.
When it does not help: with few images in a batch, averages of variances are too small.
"""

from __future__ import annotations

import torch
from torch import nn

from workbench.data.augmentation import normalise
from workbench.data.catalog import Source
from workbench.data.image_batches import ImageSet, open_feed
from workbench.models.networks import BatchNorm, place
from workbench.models.processor import exact_fp32

_BATCH_SIZE = 256
_MOST_PIXELS = 2**20  # of a batch
_SEED = 0


def estimate_norms(model: nn.Module, images: ImageSet, source: Source, device: torch.device) -> int:
    """Estimate the statistics of all batch norms in place, and return their number.

    Args:
        model: the network; it is moved to the device.
        images: at least two images.
        source: the data set of these images.
        device: device of the computation.
    """
    norms = [
        part for part in model.modules() if isinstance(part, BatchNorm) and part.track_running_stats
    ]
    if not norms:
        return 0
    modes = [(part, part.training) for part in model.modules()]
    momenta = [norm.momentum for norm in norms]
    place(model, device).eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    feed = open_feed(images, source, device)
    sizes = _equal_sizes(len(images), source.shape)
    try:
        with torch.no_grad(), exact_fp32(device.type):
            for pixels, _ in feed(sizes, False, torch.Generator().manual_seed(_SEED)):
                model(normalise(pixels, source))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for part, training in modes:
            part.training = training
    return len(norms)


def _equal_sizes(images: int, shape: tuple[int, int, int]) -> list[int]:
    """Sizes of batches that differ by at most 1: averages over batches weigh them equally."""
    most = max(2, min(_BATCH_SIZE, _MOST_PIXELS // (shape[1] * shape[2])))
    count = max(1, min(-(-images // most), images // 2))
    return [images // count + (number < images % count) for number in range(count)]
