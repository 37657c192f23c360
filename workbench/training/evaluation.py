"""Evaluation of a trained network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from workbench.data.augmentation import normalise
from workbench.data.catalog import Source
from workbench.data.image_batches import ImageSet, batches
from workbench.models.networks import place
from workbench.models.processor import Processor, exact_fp32
from workbench.training.predictions import Predictions

_EVALUATION_BATCH = 500

_TOP = 5


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Which test images a network classifies correctly.

    Attributes:
        correct: bool, shape (images,), in the order of the set: the image's class has the largest
            logit.
        top_hits: number of images whose class is among the five largest logits (or among all, with
            fewer than five classes).
        predictions: the most probable classes of each image.
    """

    correct: NDArray[np.bool_]
    top_hits: int
    predictions: Predictions | None = None

    @property
    def hits(self) -> int:
        """Number of images that are classified correctly."""
        return int(self.correct.sum())

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.correct)


def evaluate(
    model: nn.Module, images: ImageSet, source: Source, processor: Processor
) -> Evaluation:
    """Classify all images with the network, in evaluation mode and fp32."""
    device = processor.torch_device
    place(model, device).eval()
    correct, among = [], torch.zeros((), dtype=torch.int64, device=device)
    answered = []
    with torch.inference_mode(), exact_fp32(device.type):
        for inputs, labels in batches(images, _EVALUATION_BATCH, device):
            logits = model(normalise(inputs, source))
            first = logits.topk(min(_TOP, logits.shape[1]), dim=1).indices
            among += (first == labels[:, None]).sum()
            correct.append(logits.argmax(dim=1) == labels)
            answered.append(Predictions.of_logits(logits, labels))
    predictions = Predictions.joined(answered)
    return Evaluation(torch.cat(correct).cpu().numpy(), int(among), predictions)
