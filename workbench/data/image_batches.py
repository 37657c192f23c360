"""Batches of images that are held in memory or streamed from files.

``batches`` yields images in order, for evaluation and analysis. ``open_feed`` returns epochs of
images in random order and with random views, for training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workbench.data.augmentation import apply_views, draw_views
from workbench.data.catalog import Source
from workbench.data.crop_boxes import SMALLEST_SIZE, cut_batch, draw_boxes
from workbench.data.known_sets import Images
from workbench.data.streamed_images import Stream

ImageSet: TypeAlias = Images | Stream
#: Images (uint8, shape (b, c, h, w)) and labels (int64, shape (b,)), both on the device.
Batch: TypeAlias = tuple[Tensor, Tensor]

#: Pixels of a batch without gradients, so that the activations of large images fit in memory.
_MOST_PIXELS = 2**20


@dataclass(frozen=True)
class Share:
    """One process's part of every batch.

    Attributes:
        number: of the process, from 0.
        count: of all processes.
    """

    number: int = 0
    count: int = 1

    def part(self, size: int) -> slice:
        """Its images of a batch of ``size``; the parts differ by at most one image."""
        return slice(size * self.number // self.count, size * (self.number + 1) // self.count)

    def size(self, size: int) -> int:
        """Number of its images of a batch of ``size``."""
        return len(range(size)[self.part(size)])

    def places(self, sizes: Sequence[int]) -> Tensor:
        """Its places in the order of an epoch with batches of these sizes: int64, ascending."""
        starts = np.cumsum([0, *sizes])
        parts = [
            np.arange(size)[self.part(size)] + at for size, at in zip(sizes, starts, strict=False)
        ]
        return torch.from_numpy(np.concatenate(parts))


#: All images of every batch.
WHOLE = Share()


class Feed(Protocol):
    """The images of a training."""

    def __call__(
        self,
        sizes: Sequence[int],
        augment: bool,
        generator: torch.Generator,
        share: Share = WHOLE,
    ) -> Iterator[Batch]:
        """Yield one epoch's batches.

        Args:
            sizes: of the whole batches.
            augment: whether the images are cropped and flipped.
            generator: draws order and views of all images, whatever the share.
            share: the part of every batch to yield; only its files are decoded.
        """


def batches(images: ImageSet, size: int, device: torch.device) -> Iterator[Batch]:
    """Yield all images once, in order.

    Args:
        size: images a batch; fewer if the images are larger than CIFAR's.
    """
    if isinstance(images, Stream):
        size = min(size, max(1, _MOST_PIXELS // images.form.size**2))
        sizes = [min(size, len(images) - start) for start in range(0, len(images), size)]
        yield from images.batches(np.arange(len(images)), sizes, device)
        return
    height, width = images.pixels.shape[2:]
    size = min(size, max(1, _MOST_PIXELS // (height * width)))
    for start in range(0, len(images), size):
        part = slice(start, start + size)
        pixels, labels = torch.from_numpy(images.pixels[part]), images.labels[part]
        yield pixels.to(device), torch.from_numpy(labels).to(device)


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


def evenly_spaced(images: ImageSet, count: int) -> ImageSet:
    """At most ``count`` images, evenly spaced; the set itself if it has no more."""
    return images if len(images) <= count else subset(images, spread(len(images), count))


def relabelled(images: ImageSet, labels: Sequence[int]) -> ImageSet:
    """The same images with other labels.

    Args:
        labels: the new label of each old one.
    """
    return replace(images, labels=np.asarray(labels, dtype=np.int64)[images.labels])


def open_feed(
    images: ImageSet, source: Source, device: torch.device, *, reflect: bool = False
) -> Feed:
    """Return the feed of a training; images in memory are moved to the device once.

    A view is a shift and a flip (``augmentation``), or for images of 64 pixels or more a random
    resized crop and a flip (``crop_boxes``), as far as the source allows crops and flips.

    Args:
        reflect: the padding of crops mirrors the image; otherwise it is zero.
    """
    boxed = source.crop > 0 and min(source.shape[1:]) >= SMALLEST_SIZE
    pixels = labels = torch.empty(0)
    if isinstance(images, Images):
        pixels = torch.from_numpy(images.pixels).to(device)
        labels = torch.from_numpy(images.labels).to(device)

    def epoch(
        sizes: Sequence[int], augment: bool, generator: torch.Generator, share: Share = WHOLE
    ) -> Iterator[Batch]:
        padding, flip = (source.crop, source.flip) if augment else (0, False)
        order = torch.randperm(len(images), generator=generator)
        cut = augment and boxed
        if cut:
            views = draw_boxes(len(images), flip, generator)
        else:
            views = draw_views(len(images), padding, flip, generator)
        if share.count > 1:
            places = share.places(sizes)
            order, views = order[places], views[places]
            sizes = [share.size(size) for size in sizes]
        if isinstance(images, Stream):
            found = images.batches(order.numpy(), sizes, device, views if cut else None)
        else:
            found = _gather(pixels, labels, order.to(device), sizes)
        if cut and isinstance(images, Stream):
            yield from found
            return
        views, at = views.to(device), 0
        for inputs, wanted in found:
            seen = views[at : at + len(wanted)]
            at += len(wanted)
            if cut:
                inputs = cut_batch(inputs, seen)
            elif augment:
                inputs = apply_views(inputs, seen, padding, reflect=reflect)
            yield inputs, wanted

    return epoch


def _gather(pixels: Tensor, labels: Tensor, order: Tensor, sizes: Sequence[int]) -> Iterator[Batch]:
    at = 0
    for size in sizes:
        batch = order[at : at + size]
        yield pixels[batch], labels[batch]
        at += size
