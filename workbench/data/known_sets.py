"""Data sets as arrays: uint8 images and integer labels of the requested classes."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from workbench.data.catalog import SOURCES
from workbench.data.folder_files import LEAST_TRAINING_IMAGES
from workbench.errors import DataError, counted

Split = Literal["train", "test"]

_DIGITS_TEST_IMAGES = 360


@dataclass(frozen=True)
class Images:
    """Labelled images of one split.

    Attributes:
        pixels: uint8, shape (m, channels, height, width).
        labels: int64, shape (m,), in [0, number of classes).
        origin: hash of the files that the pixels were decoded from, if any; it does not depend
            on the decoder's version.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    origin: str = ""

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or len(self.pixels) != len(self.labels):
            raise ValueError(f"{self.pixels.shape} images do not fit {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)

    def fingerprint(self) -> str:
        """SHA-256 of pixels, labels and shape, or of the files that they were decoded from."""
        if self.origin:
            return self.origin
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        return digest.hexdigest()

    def of_classes(self, names: Sequence[str], source: str) -> Images:
        """Select the images of some classes, labelled by their position in ``names``."""
        known = SOURCES[source].classes
        relabel = np.full(len(known), -1, dtype=np.int64)
        relabel[[known.index(name) for name in names]] = np.arange(len(names))
        labels = relabel[self.labels]
        chosen = labels >= 0
        return Images(self.pixels[chosen], labels[chosen])

    def check_trainable(self, names: Sequence[str], source: str) -> None:
        """Raise DataError unless every class has at least two training images."""
        counts = np.bincount(self.labels, minlength=len(names))
        problems = [
            f"{source}: class '{name}' has {counted(count, 'training image')}, training needs at "
            f"least {LEAST_TRAINING_IMAGES}; add images or drop the class"
            for name, count in zip(names, counts, strict=True)
            if count < LEAST_TRAINING_IMAGES
        ]
        if problems:
            raise DataError(*problems)


def load_images(source: str, split: Split, folder: Path) -> Images:
    """Read one split of a known data set; CIFAR is downloaded if it is missing.

    Args:
        source: a name in ``catalog.SOURCES``.
        folder: the folder of the data sets (``data_folder.data_folder``).

    Raises:
        DataError: when the files are damaged, or missing and cannot be downloaded.
    """
    return _LOADERS[source](split, folder)


def _load_digits(split: Split, folder: Path) -> Images:
    return _digits()[split]


@cache  # reading the text file takes longer than training on its images
def _digits() -> dict[Split, Images]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    train, test = train_test_split(
        np.arange(len(digits.target)),
        test_size=_DIGITS_TEST_IMAGES,
        stratify=digits.target,
        random_state=0,
    )
    pixels, labels = digits.images.astype(np.uint8)[:, None], digits.target.astype(np.int64)
    return {
        "train": Images(pixels[np.sort(train)], labels[np.sort(train)]),
        "test": Images(pixels[np.sort(test)], labels[np.sort(test)]),
    }


def _load_cifar(split: Split, folder: Path, kind: str) -> Images:
    from torchvision import datasets

    cifar: Any = getattr(datasets, kind)
    base = folder / cifar.base_folder
    made = not folder.exists()
    lock = folder / f".{kind.lower()}.lock"
    try:
        if not base.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            # Two commands started together must not download into each other's files.
            with FileLock(lock):
                if not base.is_dir():
                    cifar(folder, download=True)
        parts = _read_files(cifar, base, split)
    except (OSError, HTTPException) as error:  # no network (URLError), no permission, no space
        if made:
            lock.unlink(missing_ok=True)
            with suppress(OSError):  # it is not empty: a part was downloaded
                folder.rmdir()
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or repr(error)
        raise DataError(
            f"{kind} is not in {base} and its download failed ({reason}): download {cifar.url} "
            f"(md5 {cifar.tgz_md5}) and unpack it in {folder}, or set its folder with --data-dir"
        ) from None
    except RuntimeError as error:  # torchvision: the download does not match its md5
        raise DataError(
            f"{folder / cifar.filename}: the download is damaged ({error}): delete it and download "
            f"{cifar.url} (md5 {cifar.tgz_md5}) into {folder}"
        ) from None
    labels = [part.get("fine_labels") or part["labels"] for part in parts]
    pixels = np.concatenate([part["data"] for part in parts]).reshape(-1, 3, 32, 32)
    return Images(pixels, np.concatenate(labels).astype(np.int64))


def _read_files(cifar: Any, base: Path, split: Split) -> list[dict[str, Any]]:
    """The content of the split's files; DataError if one is damaged, or is missing in the folder.

    torchvision would compute the md5 sums of all files twice. The sums also guard the pickles: only
    the official bytes are ever unpickled.
    """
    parts = []
    for name, md5 in cifar.train_list if split == "train" else cifar.test_list:
        path = base / name
        if path.is_file():
            content = path.read_bytes()
            actual = hashlib.md5(content, usedforsecurity=False).hexdigest()
            if actual == md5:
                parts.append(pickle.loads(content, encoding="latin1"))
                continue
            found = f"is damaged (md5 {actual}, expected {md5})"
        else:
            found = "is missing"
        raise DataError(
            f"{path} {found}: remove the folder {base} to download it again, or download "
            f"{cifar.url} and unpack it in {base.parent}"
        )
    return parts


_LOADERS: dict[str, Callable[[Split, Path], Images]] = {
    "digits": _load_digits,
    "cifar10": lambda split, folder: _load_cifar(split, folder, "CIFAR10"),
    "cifar100": lambda split, folder: _load_cifar(split, folder, "CIFAR100"),
}
