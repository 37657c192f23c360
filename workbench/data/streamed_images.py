"""Data sets that do not fit in memory: worker processes decode files while the network computes.

Memory holds the paths, the labels and a few batches of pixels per worker. The main process draws
all random numbers of an epoch, image by image, before the epoch begins, so they depend neither
on the number of workers nor on their speed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from workbench.data.crop_boxes import pixel_boxes
from workbench.data.decoding import Form, decode, open_image, silence, to_pixels
from workbench.errors import DataError

_MOST_WORKERS = 8
Item = tuple[int, NDArray[np.float64] | None]


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Stream:
    """Labelled image files of one split, read again in every pass.

    Attributes:
        files: one per image; all were readable when the set was opened.
        labels: int64, shape (m,), in [0, number of classes).
        form: the format that the images are converted to.
        origin: hash of the files, from ``folder_images``.
        workers: number of processes that decode; 0 means the main process.
    """

    files: tuple[Path, ...]
    labels: NDArray[np.int64]
    form: Form
    origin: str
    workers: int = field(default_factory=lambda: min(available_cores(), _MOST_WORKERS))

    def __len__(self) -> int:
        return len(self.labels)

    def fingerprint(self) -> str:
        """Hash of paths, labels, contents and form."""
        return self.origin

    def batches(
        self,
        order: NDArray[np.int64],
        sizes: Sequence[int],
        device: torch.device,
        boxes: Tensor | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and labels on the device, batch by batch.

        Args:
            order: indices of the images, batch after batch.
            sizes: of the batches; they sum to at most the length of ``order``.
            boxes: one random resized crop per image, from ``crop_boxes.draw_boxes``, in the order
                of ``order``; None takes the central square.

        Yields:
            uint8 of shape (b, c, size, size), and int64 of shape (b,).

        Raises:
            DataError: when a file can no longer be read.
        """
        pinned = device.type == "cuda"
        if boxes is not None:
            _transforms()  # import once here, not once in every worker
        loader: DataLoader[Any] = DataLoader(
            _Files(self),
            batch_sampler=_Plan(order, sizes, None if boxes is None else boxes.numpy()),
            num_workers=min(self.workers, len(sizes)),
            collate_fn=_collate,
            worker_init_fn=_begin,
            pin_memory=pinned,
            # A separate generator: a pass must not change the state that dropout draws from.
            generator=torch.Generator(),
        )
        for pixels, labels, problem in loader:
            if problem:
                raise DataError(problem)
            yield (
                pixels.to(device, non_blocking=pinned),
                labels.to(device, non_blocking=pinned),
            )


class _Plan:
    """The items of every batch, created when the batch is requested."""

    def __init__(
        self,
        order: NDArray[np.int64],
        sizes: Sequence[int],
        boxes: NDArray[np.float64] | None,
    ) -> None:
        self._order, self._sizes, self._boxes = order, sizes, boxes

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[list[Item]]:
        at = 0
        for size in self._sizes:
            part = slice(at, at + size)
            boxes = [None] * size if self._boxes is None else list(self._boxes[part])
            yield list(zip(self._order[part].tolist(), boxes, strict=True))
            at += size


class _Files(Dataset[Any]):
    """One decoded image per item; errors are passed to the main process as text."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __len__(self) -> int:
        return len(self._stream)

    def __getitem__(self, item: Item) -> tuple[NDArray[np.uint8] | None, int, str]:
        index, box = item
        path, form = self._stream.files[index], self._stream.form
        label = int(self._stream.labels[index])
        try:
            pixels = decode(path, form) if box is None else decode_box(path, form, box)
        except Exception as error:  # noqa: BLE001 - report any error with its file
            why = " ".join(str(error).split())[:80]
            problem = f"{path}: can no longer be read ({why}); restore it, or start again"
            return None, label, problem
        return pixels, label, ""


def decode_box(file: Path | bytes, form: Form, box: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Decode a random resized crop of an image file.

    Args:
        box: one row of ``crop_boxes.draw_boxes``.

    Returns:
        uint8, shape (channels, size, size), scaled with antialiasing.
    """
    # Both sides of the part are at least this share of the image's short side.
    share = math.sqrt(box[0] * math.exp(-abs(box[1])))
    transforms = _transforms()
    with open_image(file, form, share) as image:
        (place,) = pixel_boxes(torch.from_numpy(box[None]), image.height, image.width).tolist()
        part = transforms.resized_crop(image, *place, size=[form.size] * 2, antialias=True)
        if box[4]:
            part = transforms.horizontal_flip(part)
    return to_pixels(part, form)


def _collate(items: list[tuple[NDArray[np.uint8] | None, int, str]]) -> tuple[Tensor, Tensor, str]:
    labels = torch.tensor([label for _, label, _ in items])
    problem = next((text for _, _, text in items if text), "")
    if problem:
        return torch.empty(0, dtype=torch.uint8), labels, problem
    pixels = np.stack([pixels for pixels, _, _ in items if pixels is not None])
    return torch.from_numpy(pixels), labels, ""


def _transforms() -> Any:
    from torchvision.transforms.v2 import functional

    return functional


def _begin(_worker: int) -> None:
    silence()
