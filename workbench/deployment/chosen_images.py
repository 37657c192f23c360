"""Some images of a set, evenly spaced over its classes, as input of a network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.data.augmentation import normalise
from workbench.data.image_batches import ImageSet
from workbench.data.known_sets import Images
from workbench.models.weight_files import Card

_BATCH = 64


def spread(total: int, count: int) -> NDArray[np.int64]:
    """Up to ``count`` different places of ``total``, evenly spaced."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(np.int64))


def normalised_images(
    images: ImageSet, places: NDArray[np.int64], card: Card
) -> NDArray[np.float32]:
    """The images at some places, normalised.

    Args:
        images: the set; sets are ordered by class or mixed, so evenly spaced places have all.
        places: shape (n,).

    Returns:
        float32, shape (n, channels, height, width).
    """
    cpu = torch.device("cpu")
    if isinstance(images, Images):
        pixels = torch.from_numpy(images.pixels[places])
    else:
        sizes = [min(_BATCH, len(places) - at) for at in range(0, len(places), _BATCH)]
        pixels = torch.cat([batch for batch, _ in images.batches(places, sizes, cpu)])
    return np.ascontiguousarray(normalise(pixels, card).numpy())
