"""Evaluation of a trained network."""

from __future__ import annotations

import torch
from torch import nn

from workbench.data.augmentation import normalise
from workbench.data.catalog import Source
from workbench.data.image_batches import ImageSet, batches
from workbench.models.networks import place
from workbench.models.processor import Processor, exact_fp32

_EVALUATION_BATCH = 500

_TOP = 5


def evaluate(
    model: nn.Module, images: ImageSet, source: Source, processor: Processor
) -> tuple[int, int]:
    """Count the images that the network classifies correctly, in evaluation mode and fp32.

    Returns:
        Number of images whose class has the largest logit, and number whose class is among the
        five largest (or among all, with fewer than five classes).
    """
    device = processor.torch_device
    place(model, device).eval()
    hits = torch.zeros(2, dtype=torch.int64, device=device)
    with torch.inference_mode(), exact_fp32(device.type):
        for inputs, labels in batches(images, _EVALUATION_BATCH, device):
            logits = model(normalise(inputs, source))
            among = logits.topk(min(_TOP, logits.shape[1]), dim=1).indices == labels[:, None]
            hits[0] += (logits.argmax(dim=1) == labels).sum()
            hits[1] += among.sum()
    first, top = hits.tolist()
    return first, top
