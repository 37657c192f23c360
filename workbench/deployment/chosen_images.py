"""Some images of a set as input of a network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.data.augmentation import normalise
from workbench.data.image_batches import ImageSet, batches, subset
from workbench.models.weight_files import Card

_BATCH = 64


def normalised_images(
    images: ImageSet, places: NDArray[np.int64], card: Card
) -> NDArray[np.float32]:
    """The images at some places, normalised, shape (n, channels, height, width)."""
    chosen = batches(subset(images, places), _BATCH, torch.device("cpu"))
    pixels = torch.cat([batch for batch, _ in chosen])
    return np.ascontiguousarray(normalise(pixels, card).numpy())
