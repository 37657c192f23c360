"""Image folders as data sets: decoded into memory if they fit, otherwise streamed from disk.

Opening a set reads every file once: its content is hashed, and files that are not readable
images are reported and skipped.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from workbench.data.augmentation import Scale
from workbench.data.catalog import IMAGENET, SOURCES, Source, crop_of, imagenet
from workbench.data.decoding import (
    UNREADABLE,
    Form,
    check,
    decode,
    form_of,
    quiet,
    reason,
    short_side,
)
from workbench.data.folder_files import FOLDER, Folder, list_folder, shortages
from workbench.data.image_batches import ImageSet
from workbench.data.known_sets import Images
from workbench.data.streamed_images import Stream, available_cores
from workbench.data.user_paths import user_path
from workbench.errors import DataError, counted, printable

#: Bytes of decoded pixels up to which a split is held in memory. The limit does not depend on the
#: machine, because it affects the pixels that a training sees.
MEMORY_LIMIT = 2**28
IMAGE_SIZE = 224  # height and width in pixels, unless the user sets it or the images are small
_SMALL = 64  # images below this size are not enlarged to IMAGE_SIZE
_STEP = 8  # their size is rounded to a multiple of this: networks halve it several times
_SAMPLE, _FIRST = 2000, 16  # images to compute mean and spread from, and the size
_CHUNK = 256  # files read ahead of their use
_NAMED = 5  # unreadable files named in a warning

Say = Callable[[str], None]
_T = TypeVar("_T")


def find_source(name: str, image_size: int | None = None, scale: Scale | None = None) -> Source:
    """Find the data set that a network is trained on: a known one by name, or an image folder.

    Args:
        name: a key of ``catalog.SOURCES``, ``catalog.IMAGENET``, or a path.
        image_size: of a folder's images; None means 224, or a size near their own if they are
            smaller than 64 pixels.
        scale: mean, spread and white that a network's weights were trained with; None means
            those of the folder's images.

    Raises:
        DataError: when the folder cannot be used.
    """
    if name in SOURCES:
        return SOURCES[name]
    if name == IMAGENET:
        return imagenet(image_size or IMAGE_SIZE)
    folder = list_folder(user_path(name))
    paths = [path for path, _ in folder.files("train")]
    size = image_size or _usual_size(paths)
    channels = len(scale.mean) if scale else 3
    mean, std = (scale.mean, scale.std) if scale else _statistics(paths, Form(3, size))
    return Source(
        name=_short_name(folder.path),
        classes=folder.classes,
        shape=(channels, size, size),
        train_images=folder.counts("train"),
        test_images=folder.counts("test"),
        mean=mean,
        std=std,
        white=scale.white if scale else 255,
        crop=crop_of(size),
        flip=True,
        model=_usual_model(size),
        folder=folder,
    )


def _usual_model(size: int) -> str:
    if size >= _SMALL:
        return "torchvision:resnet18"
    return "vgg16" if size >= 32 else "simplecnn"


def load_folder(
    folder: Folder, source: Source, *, strict: bool = False, say: Say = lambda line: None
) -> tuple[ImageSet, ImageSet]:
    """Training and test images of a folder.

    Args:
        source: its image size, channels and white are those of the network's input.
        strict: an unreadable file is an error instead of a warning.
        say: receives the warnings.

    Raises:
        DataError: with every unreadable file, or every class that has too few images left.
    """
    form = form_of(source)
    train, test = (_read_split(folder, split, form) for split in ("train", "test"))
    bad = [*train.bad, *test.bad]
    if bad and strict:
        raise DataError(
            *(f"{path}: {why}; repair or remove it, or leave out --strict" for path, why in bad)
        )
    if bad:
        say(_warning(folder, bad))
    counts = [np.bincount(part.labels, minlength=len(folder.classes)) for part in (train, test)]
    shared = len(set(train.hashes).intersection(test.hashes))
    if shared:
        say(
            f"warning: {printable(str(folder.path))}: test images are also training images under "
            f"another name ({shared:,}): accuracies will be too high; remove one of each pair"
        )
    problems = shortages(folder, counts[0].tolist(), counts[1].tolist())
    if problems:
        raise DataError(*problems)
    return train.images(form), test.images(form)


@dataclass(frozen=True)
class _Read:
    """The readable files of a split; ``pixels`` is None if they do not fit in memory.

    ``hashes`` has one hash per file; ``origin`` is the hash of all files, names and labels and
    the form.
    """

    files: tuple[Path, ...]
    labels: NDArray[np.int64]
    pixels: NDArray[np.uint8] | None
    hashes: tuple[bytes, ...]
    origin: str
    bad: list[tuple[Path, str]]

    def images(self, form: Form) -> ImageSet:
        if self.pixels is None:
            return Stream(self.files, self.labels, form, self.origin)
        return Images(self.pixels, self.labels, self.origin)


def _read_split(folder: Folder, split: str, form: Form) -> _Read:
    listed = folder.files(split)
    paths = [path for path, _ in listed]
    fits = len(listed) * form.bytes <= MEMORY_LIMIT
    shape = (len(listed) if fits else 0, form.channels, form.size, form.size)
    pixels = np.empty(shape, dtype=np.uint8)
    digest = hashlib.sha256(f"{form}".encode())
    files: list[Path] = []
    labels: list[int] = []
    hashes: list[bytes] = []
    bad: list[tuple[Path, str]] = []

    def read(path: Path) -> tuple[bytes, int, NDArray[np.uint8] | None, str]:
        try:
            content = path.read_bytes()
        except OSError as error:  # a disk or permission error must not change the set
            raise DataError(
                f"{path}: cannot be read ({error.strerror}); check its permissions"
            ) from None
        try:
            image = decode(content, form) if fits else None
            if image is None:
                check(content)
        except UNREADABLE as error:
            return b"", 0, None, reason(error)
        return hashlib.sha256(content).digest(), len(content), image, ""

    for (path, label), (content_hash, length, image, why) in zip(
        listed, _in_threads(read, paths), strict=True
    ):
        if why:
            bad.append((path, why))
            continue
        if image is not None:
            pixels[len(files)] = image
        name = os.fsencode(path.relative_to(folder.path).as_posix())
        digest.update(name + f"\0{label}\0{length}\0".encode() + content_hash)
        files.append(path)
        labels.append(label)
        hashes.append(content_hash)
    return _Read(
        tuple(files),
        np.asarray(labels, dtype=np.int64),
        pixels[: len(files)] if fits else None,
        tuple(hashes),
        digest.hexdigest(),
        bad,
    )


def _in_threads(work: Callable[[Path], _T], paths: Sequence[Path]) -> Iterator[_T]:
    """Yield results in the order of the paths; work ahead by at most one chunk."""
    with quiet(), ThreadPoolExecutor(available_cores()) as pool:
        for start in range(0, len(paths), _CHUNK):
            yield from pool.map(work, paths[start : start + _CHUNK])


def _warning(folder: Folder, bad: Sequence[tuple[Path, str]]) -> str:
    kinds = Counter("not an image" if why == "not an image" else "damaged" for _, why in bad)
    counts = ", ".join(f"{kind}: {number}" for kind, number in sorted(kinds.items()))
    named = ", ".join(str(path.relative_to(folder.path)) for path, _ in bad[:_NAMED])
    more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    return printable(
        f"warning: {folder.path}: skipped {counted(len(bad), 'file')} ({counts}): {named}{more}; "
        "--strict makes them an error"
    )


def _short_name(path: Path) -> str:
    """The folder's name as a valid experiment name, different from all known data sets."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().name).strip("-.") or "images"
    return f"{name}-{FOLDER}" if name in (*SOURCES, IMAGENET, FOLDER) else name


def _usual_size(paths: Sequence[Path]) -> int:
    """224, or the size of the first images if they are small."""

    def side(path: Path) -> int | None:
        try:
            return short_side(path.read_bytes())
        except UNREADABLE:
            return None

    sides = [found for found in _in_threads(side, paths[:_FIRST]) if found]
    middle = sorted(sides)[len(sides) // 2] if sides else IMAGE_SIZE
    if middle >= _SMALL:
        return IMAGE_SIZE
    return max(_STEP, int(middle / _STEP + 0.5) * _STEP)


def _spread(length: int, count: int) -> NDArray[np.int64]:
    """At most ``count`` evenly spread indices of a list of this length."""
    return np.linspace(0, length - 1, min(length, count)).astype(np.int64)


def _statistics(paths: Sequence[Path], form: Form) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and spread of each channel over at most 2,000 images, on a scale where white is 1."""

    def moments(path: Path) -> NDArray[np.float64] | None:
        try:
            pixels = decode(path, form)
        except UNREADABLE:
            return None
        values = pixels.reshape(form.channels, -1).astype(np.float64) / form.white
        return np.stack([values.mean(axis=1), (values**2).mean(axis=1)])

    sample = [paths[place] for place in _spread(len(paths), _SAMPLE)]
    found = [m for m in _in_threads(moments, sample) if m is not None]
    if not found:
        raise DataError(f"{paths[0].parent}: has no readable image; add images")
    mean, square = np.mean(found, axis=0)
    # A set of one flat colour has no spread to divide by.
    std = np.sqrt(np.maximum(square - mean**2, 1e-4))
    return tuple(mean.round(4).tolist()), tuple(std.round(4).tolist())
