"""Evaluate a file on a set of images: which it classifies correctly, and its logits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.data.augmentation import normalise
from workbench.data.image_batches import ImageSet, batches
from workbench.deployment.onnx_files import Array, Run
from workbench.errors import WeightsError
from workbench.models.weight_files import Card
from workbench.training.evaluation import Evaluation
from workbench.training.predictions import Predictions

_BATCH, _TOP = 64, 5


def evaluate_file(run: Run, images: ImageSet, card: Card, name: object) -> Evaluation:
    """Classify all images with a file.

    Args:
        run: the opened file.
        images: their labels are positions in the card's classes.
        name: the file, for messages.

    Raises:
        WeightsError: when the file computes NaN or infinity.
    """
    correct, among, answered = [], 0, []
    for inputs, labels in normalised_batches(images, card):
        logits = run(inputs)
        if not np.isfinite(logits).all():
            raise WeightsError(f"{name}: computes NaN or infinity for a test image")
        order = np.argsort(-logits, axis=1, kind="stable")
        correct.append(order[:, 0] == labels)
        among += int((order[:, :_TOP] == labels[:, None]).sum())
        answered.append(Predictions.of_logits(torch.from_numpy(logits), torch.from_numpy(labels)))
    return Evaluation(np.concatenate(correct), among, Predictions.joined(answered))


def normalised_batches(images: ImageSet, card: Card) -> Iterator[tuple[Array, NDArray[np.int64]]]:
    """All images once, in order: normalised batches, and labels."""
    for pixels, labels in batches(images, _BATCH, torch.device("cpu")):
        yield np.ascontiguousarray(normalise(pixels, card).numpy()), labels.numpy()
