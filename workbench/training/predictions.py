"""Predictions of a network for each evaluated image, as a small file that cannot run code.

Only the most probable classes of an image are kept, so a file has at most 24 bytes an image
whatever the number of classes: 10,000 images need 240 kB at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from workbench.models.weight_files import save_tensors

PREDICTIONS_FILE = "predictions.safetensors"
_KEPT = 5  # classes an image
_MOST_CLASSES = 1 << 16
_MOST_BYTES = 1 << 28


@dataclass(frozen=True, eq=False)
class Predictions:
    """The most probable classes of every test image, in the order of the set.

    Attributes:
        labels: shape (images,), the class of each image.
        classes: shape (images, k), the k most probable classes in descending order, with k = 5 or
            the number of classes if that is smaller.
        probabilities: shape (images, k), the softmax of the logits for these classes, in [0, 1].
        of_label: shape (images,), the probability of the image's own class.
    """

    labels: NDArray[np.int64]
    classes: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    of_label: NDArray[np.float32]

    def __post_init__(self) -> None:
        images = (len(self.labels),)
        if self.classes.ndim != 2 or not self.classes.shape[1]:
            raise ValueError(f"classes have shape {self.classes.shape}, not (images, k)")
        if self.classes.shape != self.probabilities.shape:
            raise ValueError("classes and probabilities have different shapes")
        if not images == self.classes.shape[:1] == self.of_label.shape == self.labels.shape:
            raise ValueError("the arrays have different numbers of images")
        for values in (self.probabilities, self.of_label):
            if not ((values >= 0) & (values <= 1)).all():  # also False for NaN
                raise ValueError("a probability is not within [0, 1]")

    @classmethod
    def of_logits(cls, logits: Tensor, labels: Tensor) -> Predictions:
        """The predictions for a batch.

        Args:
            logits: shape (b, classes).
            labels: shape (b,), int64.
        """
        shares = logits.float().softmax(dim=1)
        # Stable: among equal logits the first class is the answer, as it is for argmax.
        order = logits.argsort(dim=1, descending=True, stable=True)[:, :_KEPT]
        parts = (order, shares.gather(1, order), shares.gather(1, labels[:, None])[:, 0])
        classes, probabilities, of_label = (part.cpu().numpy() for part in parts)
        finite = np.nan_to_num(probabilities), np.nan_to_num(of_label)  # of broken networks
        return cls(labels.cpu().numpy(), classes, *finite)

    @classmethod
    def joined(cls, parts: list[Predictions]) -> Predictions:
        """The predictions for several batches, one after the other."""
        names = ("labels", "classes", "probabilities", "of_label")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    @property
    def answers(self) -> NDArray[np.int64]:
        """The most probable class of each image, shape (images,)."""
        return self.classes[:, 0]

    @property
    def confidence(self) -> NDArray[np.float32]:
        """The probability of the most probable class of each image, shape (images,)."""
        return self.probabilities[:, 0]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the answer is the image's class, shape (images,)."""
        right: NDArray[np.bool_] = self.answers == self.labels
        return right

    def write(self, path: Path) -> None:
        """Write a safetensors file: classes as int16 or int32, probabilities as float16.

        Raises:
            OSError: when it cannot be written.
        """
        largest = max(int(self.classes.max(initial=0)), int(self.labels.max(initial=0)))
        whole = torch.int16 if largest < 1 << 15 else torch.int32
        tensors = {
            "labels": torch.from_numpy(self.labels).to(whole),
            "classes": torch.from_numpy(np.ascontiguousarray(self.classes)).to(whole),
            "probabilities": torch.from_numpy(self.probabilities).half(),
            "of_label": torch.from_numpy(self.of_label).half(),
        }
        save_tensors(tensors, path, {})

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read a file that ``write`` wrote.

        Raises:
            ValueError: when it is something else.
        """
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise ValueError("too large")
            saved = load_file(path)
            labels, classes = (saved[name].astype(np.int64) for name in ("labels", "classes"))
            shares = tuple(saved[name].astype(np.float32) for name in ("probabilities", "of_label"))
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise ValueError(f"not a file of predictions ({error})") from None
        for values in (labels, classes):
            if not ((values >= 0) & (values < _MOST_CLASSES)).all():
                raise ValueError("a class is out of range")
        return cls(labels, classes, *shares)
