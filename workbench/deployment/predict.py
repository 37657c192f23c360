"""Predict classes and probabilities of image files with a run, a weight file or an ONNX file.

A ``.pt2`` file is rejected: torch.export.load unpickles it, and no file that is loaded here may
run code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.compression.narrow_networks import load_network
from workbench.data.decoding import UNREADABLE, Form, decode, quiet, reason
from workbench.deployment.export import import_onnx
from workbench.deployment.run_weights import find_weights
from workbench.errors import DataError, SettingsError, WeightsError
from workbench.models.weight_files import CARD, Card, card_from, read_card

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
        run: a run or a ``.safetensors`` file, as for ``run_weights.find_weights``, or an
            ``.onnx`` file that the workbench wrote.
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
    card, network = _load(run, model, tracking_uri)
    pixels = prepare([Path(image) for image in images], card)
    outputs = [network(pixels[at : at + _BATCH]) for at in range(0, len(pixels), _BATCH)]
    shares = _softmax(_checked_logits(run, outputs, card).astype(np.float64))
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
            try:
                read.append(decode(path, form))
            except FileNotFoundError:
                problems.append(f"{path}: no such image")
            except UNREADABLE as error:
                problems.append(f"{path}: cannot be read as an image ({reason(error)})")
    if problems:
        raise DataError(*problems)
    pixels = np.stack(read).astype(np.float32) / card.white
    mean, std = (
        np.asarray(values, dtype=np.float32)[:, None, None] for values in (card.mean, card.std)
    )
    return np.ascontiguousarray((pixels - mean) / std)


def _load(
    run: str, model: str | None, tracking_uri: str | None
) -> tuple[Card, Callable[[Batch], Batch]]:
    suffix = Path(run).suffix
    if suffix == ".onnx":
        return _load_onnx(Path(run))
    if suffix == ".pt2":
        raise SettingsError(
            f"{run}: loading a .pt2 file can run code in it; name the run, or a .safetensors or "
            ".onnx file"
        )
    path = find_weights(run, tracking_uri).weights
    network = load_network(path, model)

    def classify(images: Batch) -> Batch:
        with torch.inference_mode():
            logits: Batch = network(torch.from_numpy(images)).numpy()
        return logits

    return read_card(path), classify


def _load_onnx(path: Path) -> tuple[Card, Callable[[Batch], Batch]]:
    runtime = import_onnx("onnxruntime")
    if not os.path.isfile(path):
        raise WeightsError(f"{path}: no such file")
    try:
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        text = session.get_modelmeta().custom_metadata_map.get(CARD)
    except Exception as error:  # noqa: BLE001 - onnxruntime's errors have no common base
        raise WeightsError(f"{path}: not a readable ONNX file ({_short(error)})") from None

    def classify(images: Batch) -> Batch:
        try:
            return np.asarray(session.run(None, {"images": images})[0])
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors have no common base
            raise WeightsError(f"{path}: does not run on its images ({_short(error)})") from None

    return card_from(path, text), classify


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


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
