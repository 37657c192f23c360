"""The validation split: a share of each class's training images, to choose between options.

The test images are read once, at the end. Everything that is chosen before (a learning rate, a
recipe, a network) is compared on the validation images, by networks that were trained on the rest.

A hash ranks the images of each class, and the first ones are the validation images. So the split
depends neither on the order of the images nor on a seed, and a larger share contains a smaller one.
Images in memory are ranked by their pixels, streamed files by their path below the folder of all
files, because reading them takes long. Identical images in memory have the same rank, so at most
one group of them per class is divided between the parts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from workbench.data.folder_files import LEAST_TRAINING_IMAGES
from workbench.data.image_batches import ImageSet
from workbench.data.known_sets import Images
from workbench.errors import DataError, counted

#: Share of each class's training images that become validation images.
DEFAULT_SHARE = 0.2
_LEAST_VALIDATION_IMAGES = 1
#: Images of a class that can be divided.
LEAST_IMAGES = LEAST_TRAINING_IMAGES + _LEAST_VALIDATION_IMAGES


def split_validation(
    images: ImageSet, names: Sequence[str], share: float = DEFAULT_SHARE, *, where: str = ""
) -> tuple[ImageSet, ImageSet]:
    """Divide training images into those to train on and those to compare on.

    Args:
        images: with labels in [0, len(names)).
        names: of the classes, for the error.
        share: of each class that becomes validation images, in (0, 1), rounded to whole images;
            at least one image, and at least two are left to train on.
        where: name of the data set, for the error.

    Returns:
        The rest and the validation images, each in the order of ``images``, with a fingerprint
        of its own. The parts are disjoint and complete.

    Raises:
        DataError: with one line for each class of fewer than ``LEAST_IMAGES`` images.
        ValueError: when the share is not within (0, 1).
    """
    chosen = validation_places(images, names, share, where=where)
    rest = np.setdiff1d(np.arange(len(images)), chosen)
    return _part(images, rest), _part(images, chosen)


def validation_places(
    images: ImageSet, names: Sequence[str], share: float = DEFAULT_SHARE, *, where: str = ""
) -> NDArray[np.int64]:
    """Positions of the validation images, sorted; arguments and errors of ``split_validation``."""
    if not 0 < share < 1:
        raise ValueError(f"a share of {share:g} is not within (0, 1)")
    counts = np.bincount(images.labels, minlength=len(names))
    problems = [
        f"{where}{': ' if where else ''}class '{name}' has {counted(count, 'training image')}, "
        f"a validation split needs at least {LEAST_IMAGES}; add images or drop the class"
        for name, count in zip(names, counts.tolist(), strict=True)
        if count < LEAST_IMAGES
    ]
    if problems:
        raise DataError(*problems)
    ranks = _ranks(images)
    chosen: list[int] = []
    for label, count in enumerate(counts.tolist()):
        own = np.flatnonzero(images.labels == label).tolist()
        chosen += sorted(own, key=ranks.__getitem__)[: validation_count(count, share)]
    return np.asarray(sorted(chosen), dtype=np.int64)


def without(images: ImageSet, others: ImageSet) -> ImageSet:
    """The images of a set that are not in another one, for example in its validation images.

    Images in memory are the same if their pixels are, streamed files if their paths are.
    """
    known = set(_identities(others))
    left = [n for n, each in enumerate(_identities(images)) if each not in known]
    return images if len(left) == len(images) else _part(images, np.asarray(left, dtype=np.int64))


def _identities(images: ImageSet) -> list[bytes]:
    if isinstance(images, Images):
        return [np.ascontiguousarray(image).tobytes() for image in images.pixels]
    return [os.fsencode(path.resolve()) for path in images.files]


def validation_count(count: int, share: float) -> int:
    """Validation images among ``count`` images of one class."""
    wanted = int(share * count + 0.5)
    return min(max(wanted, _LEAST_VALIDATION_IMAGES), count - LEAST_TRAINING_IMAGES)


def _ranks(images: ImageSet) -> list[bytes]:
    """One hash per image; it depends on this image alone."""
    if isinstance(images, Images):
        return [_hash(np.ascontiguousarray(image).tobytes()) for image in images.pixels]
    root = os.path.commonpath([path.parent for path in images.files])
    return [_hash(os.fsencode(path.relative_to(root).as_posix())) for path in images.files]


def _hash(content: bytes) -> bytes:
    # The prefix makes the ranks independent of those that select test images.
    return hashlib.sha256(b"validation/" + content).digest()


def _part(images: ImageSet, places: NDArray[np.int64]) -> ImageSet:
    origin = _origin(images.origin, places) if images.origin else ""
    labels = images.labels[places]
    if isinstance(images, Images):
        return Images(images.pixels[places], labels, origin)
    files = tuple(images.files[place] for place in places)
    return replace(images, files=files, labels=labels, origin=origin)


def _origin(whole: str, places: NDArray[np.int64]) -> str:
    return hashlib.sha256(f"{whole}/".encode() + places.astype("<i8").tobytes()).hexdigest()
