"""Some images of a set, evenly spaced, and as input of a network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.data.augmentation import normalise
from workbench.data.image_batches import ImageSet, batches
from workbench.data.known_sets import Images
from workbench.models.weight_files import Card

_BATCH = 64


def spread(total: int, count: int) -> NDArray[np.int64]:
    """Up to ``count`` different places of ``total``, evenly spaced.

    Sets are sorted by class or mixed; evenly spaced images are of all classes.
    """
    return np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(np.int64))


def subset(images: ImageSet, places: NDArray[np.int64]) -> ImageSet:
    """The images at some places, shape (n,), in this order."""
    if isinstance(images, Images):
        return Images(images.pixels[places], images.labels[places])
    files = tuple(images.files[place] for place in places)
    return replace(images, files=files, labels=images.labels[places])


def normalised_images(
    images: ImageSet, places: NDArray[np.int64], card: Card
) -> NDArray[np.float32]:
    """The images at some places, normalised, shape (n, channels, height, width)."""
    chosen = batches(subset(images, places), _BATCH, torch.device("cpu"))
    pixels = torch.cat([batch for batch, _ in chosen])
    return np.ascontiguousarray(normalise(pixels, card).numpy())
