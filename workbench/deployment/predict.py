"""Predict classes and probabilities of image files with a run, or a file of the workbench."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.data.decoding import UNREADABLE, Form, decode, quiet, reason
from workbench.deployment.network_files import open_network
from workbench.deployment.onnx_files import Run
from workbench.deployment.run_weights import find_file
from workbench.errors import DataError, SettingsError, WeightsError
from workbench.models.weight_files import Card

_BATCH = 64
Batch = NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """The most likely classes of one image.

    Attributes:
        image: the file.
        classes: class names, the most likely first.
        probabilities: probability of each of these classes, in [0, 1].
    """

    image: Path
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


def predict(
    run: str,
    images: Sequence[Path | str],
    *,
    top: int = 3,
    model: str | None = None,
    tracking_uri: str | None = None,
) -> list[Prediction]:
    """Predict the classes of images.

    Args:
        run: a run or a file that the workbench wrote, as for ``run_weights.find_file``. A ``.pt2``
            file is rejected, because loading it can run code.
        images: image files of any size (``data.decoding.FORMATS``).
        top: number of classes to return for each image.
        model: name of the network, if the user's own code defines it.

    Raises:
        WorkbenchError: for anything that the user can correct, with all unreadable images.
    """
    if top < 1:
        raise SettingsError(f"--top {top} is too small; it must be at least 1")
    if not images:
        raise SettingsError("no image was named; add one or more image files")
    path = find_file(run, tracking_uri)
    opened = open_network(path, model)
    card, network = opened.card, opened.run
    pixels = prepare([Path(image) for image in images], card)
    shares = probabilities_of(run, network, pixels, card)
    best = np.argsort(-shares, axis=1, kind="stable")[:, :top]
    return [
        Prediction(
            Path(image),
            tuple(card.classes[label] for label in labels),
            tuple(float(row[label]) for label in labels),
        )
        for image, labels, row in zip(images, best, shares, strict=True)
    ]


def prepare(paths: Sequence[Path], card: Card) -> Batch:
    """Read images and prepare them as input of a network.

    The central square is scaled to the network's size, as in training, and pixels are normalised.

    Returns:
        float32, shape (number of paths, channels, height, width).

    Raises:
        DataError: lists every file that is missing or not an image.
        WeightsError: when the network does not take 1 or 3 channels.
    """
    if card.shape[0] not in (1, 3):
        raise WeightsError(f"the network takes {card.shape[0]} channels; images have 1 or 3")
    form = Form(card.shape[0], card.shape[1], card.white)
    read, problems = [], []
    with quiet():
        for path in paths:
            if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
                # Opening a pipe waits for a writer, maybe forever.
                problems.append(f"{path}: is not a regular file; name an image file")
                continue
            try:
                read.append(decode(path, form))
            except FileNotFoundError:
                problems.append(f"{path}: no such image")
            except UNREADABLE as error:
                problems.append(f"{path}: cannot be read as an image ({reason(error)})")
    if problems:
        raise DataError(*problems)
    return normalised(np.stack(read), card)


def normalised(pixels: NDArray[np.uint8], card: Card) -> Batch:
    """Images of a network's size as its input.

    Args:
        pixels: uint8, shape (b, channels, height, width), white at ``card.white``.
    """
    shares = pixels.astype(np.float32) / card.white
    mean, std = (
        np.asarray(values, dtype=np.float32)[:, None, None] for values in (card.mean, card.std)
    )
    return np.ascontiguousarray((shares - mean) / std)


def probabilities_of(name: str, network: Run, images: Batch, card: Card) -> NDArray[np.float64]:
    """The probabilities of all classes, shape (b, classes), computed in small batches.

    Args:
        name: of the network, for messages.
        images: as ``normalised`` returns them.

    Raises:
        WeightsError: when the outputs do not match the card, or are not finite.
    """
    outputs = [network(images[at : at + _BATCH]) for at in range(0, len(images), _BATCH)]
    return _softmax(_checked_logits(name, outputs, card).astype(np.float64))


def _checked_logits(run: str, outputs: Sequence[Batch], card: Card) -> Batch:
    """The logits of all images, checked because a file's outputs may not match its card."""
    wanted = len(card.classes)
    if any(batch.ndim != 2 or batch.shape[1] != wanted for batch in outputs):
        raise WeightsError(f"{run}: does not have one output for each of its {wanted} classes")
    logits = np.concatenate(outputs)
    if not np.isfinite(logits).all():
        raise WeightsError(f"{run}: computes NaN or infinity; export or train it again")
    return logits


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    total: NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
    return total
