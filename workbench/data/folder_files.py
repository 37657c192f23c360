"""Image folders: the files of each class and split. This module does not open files.

A folder has a subfolder for each class, or ``train`` and ``test`` folders with one for each
class. If the folder is not split, this module splits it: a share of each class becomes test
images. A hash of the file names selects them, so a new file moves at most one other file to the
other split.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import DataError, counted, did_you_mean

#: Name of the data set when the domain file of a folder does not give one.
FOLDER = "folder"
TEST_FRACTION, SPLIT_SEED = 0.2, 0
LEAST_TRAINING_IMAGES = 2  # per class: one image does not separate a class from noise
_TRAIN, _TESTS = "train", ("test", "val")  # ImageNet calls its labelled test images "val"
_SPLIT_NAMES = frozenset(
    "train training test testing val valid validation eval evaluation dev".split()
)
#: Suffixes of image files; files with another suffix are read, but do not become test images.
IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .bmp .dib .gif .tif .tiff .pgm .ppm .pbm".split()
)


@dataclass(frozen=True)
class Folder:
    """The files of an image folder.

    Attributes:
        path: the folder.
        classes: names of subfolders; the position of a name is its label.
        train, test: files of each class, in the order of ``classes``. Only reading them shows
            whether they are images.
    """

    path: Path
    classes: tuple[str, ...]
    train: tuple[tuple[Path, ...], ...]
    test: tuple[tuple[Path, ...], ...]

    def digest(self) -> str:
        """Hash of the names and sizes of all files; it does not depend on the folder's location."""
        listed = [
            (split, path.relative_to(self.path).as_posix(), path.stat().st_size)
            for split in ("train", "test")
            for path, _ in self.files(split)
        ]
        return hashlib.sha256(repr(sorted(listed)).encode()).hexdigest()

    def files(self, split: str) -> list[tuple[Path, int]]:
        """Files and labels of one split ("train" or "test")."""
        groups = self.train if split == "train" else self.test
        return [(path, label) for label, group in enumerate(groups) for path in group]

    def counts(self, split: str) -> tuple[int, ...]:
        """Files of each class in one split."""
        return tuple(map(len, self.train if split == "train" else self.test))


def class_names(path: Path) -> list[str]:
    """The classes of a folder: its subfolders, or those of its ``train`` folder, sorted.

    Raises:
        DataError: when the folder does not exist or has no subfolders.
    """
    if not os.path.isdir(path):  # unlike Path.is_dir, False where a parent cannot be read
        raise DataError(f"{path}: no such folder; use one that has a subfolder for each class")
    names = _subfolders(path)
    if not is_split(path):
        halves = [name for name in names if name.casefold() in _SPLIT_NAMES]
        if halves:
            raise DataError(
                f"{path}: has {', '.join(f'{name}/' for name in halves)}, which looks like a "
                "split, not like classes; rename to train/ and test/, or use the folder that has "
                "the classes"
            )
    else:
        path = path / _TRAIN
        names = _subfolders(path)
    if not names:
        raise DataError(f"{path}: has no subfolders; put each class into its own")
    odd = [name for name in names if not name.isprintable()]
    if odd:
        raise DataError(f"{path}: the name of folder '{odd[0]}' cannot be printed; rename it")
    return names


def list_folder(
    path: Path,
    classes: Sequence[str] | None = None,
    *,
    test_fraction: float = TEST_FRACTION,
    seed: int = SPLIT_SEED,
) -> Folder:
    """Find the files of every class.

    Args:
        path: the folder.
        classes: subfolders to take, in the order of their labels; all, sorted, when None.
        test_fraction: share of each class that becomes test images, in (0, 1), at least one
            image; ignored if the folder has ``train`` and ``test`` (or ``val``).
        seed: changes which images become test images.

    Raises:
        DataError: with one line for each class that is missing, empty or too small.
    """
    known = class_names(path)
    chosen = tuple(known if classes is None else classes)
    problems = [
        f"{path}: has no folder for class '{name}'{did_you_mean(name, known)}"
        for name in chosen
        if name not in known
    ]
    if len(chosen) < 2 and not problems:
        problems = [f"{path}: has {len(chosen)} class(es), two or more are needed; add a folder"]
    if problems:
        raise DataError(*problems)
    halves = split_folders(path)
    if halves:
        there = _subfolders(halves[1])
        extra = [name for name in there if name not in known and classes is None]
        problems += [
            f"{halves[1]}: class '{name}' is not in {halves[0]}; add it there or list the "
            "classes to use"
            for name in extra
        ]
        train, test = (tuple(_files(half / name) for name in chosen) for half in halves)
    else:
        parts = [_divide(path, _files(path / name), test_fraction, seed) for name in chosen]
        train, test = tuple(part[0] for part in parts), tuple(part[1] for part in parts)
    folder = Folder(path, chosen, train, test)
    problems += shortages(folder, folder.counts("train"), folder.counts("test"))
    if problems:
        raise DataError(*problems)
    return folder


def shortages(folder: Folder, train: Sequence[int], test: Sequence[int]) -> list[str]:
    """One line for each class that has too few images.

    Args:
        train, test: images of each class, in the order of ``folder.classes``.
    """
    problems = []
    halves = split_folders(folder.path)
    for name, learned, tested in zip(folder.classes, train, test, strict=True):
        where = halves[0] / name if halves else folder.path / name
        if not learned and (halves or not tested):
            problems.append(f"{where}: has no images; add some or leave the class out")
        elif learned < LEAST_TRAINING_IMAGES:
            problems.append(
                f"{where}: {counted(learned, 'training image')}, training needs at least "
                f"{LEAST_TRAINING_IMAGES}; add images or leave the class out"
            )
        elif not tested:
            there = halves[1] / name if halves else where
            problems.append(f"{there}: no test images; add some or leave the class out")
    return problems


def is_split(path: Path) -> bool:
    """Whether a folder is already split into training and test images."""
    return split_folders(path) is not None


def split_folders(path: Path) -> tuple[Path, Path] | None:
    """The folders of training and of test images, or None if the folder is not split."""
    tests = (path / name for name in _TESTS if os.path.isdir(path / name))
    test = next(tests, None)
    return (path / _TRAIN, test) if test and os.path.isdir(path / _TRAIN) else None


def _subfolders(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
            return sorted(name for name in names if os.path.isdir(path / name))
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); check its permissions"
        ) from None


def _files(folder: Path) -> tuple[Path, ...]:
    """All regular files below a folder, sorted; names that begin with a dot are skipped."""
    return tuple(sorted(_walk(folder)))


def _walk(folder: Path) -> Iterator[Path]:
    if not os.path.isdir(folder):
        return
    for place, below, names in os.walk(folder, onerror=_reject):
        below[:] = [name for name in below if not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            # Skip pipes and devices: reading one could block forever.
            if not name.startswith(".") and path.is_file():
                yield path


def _reject(error: OSError) -> None:
    raise DataError(
        f"{error.filename}: cannot be read ({error.strerror}); check its permissions"
    ) from None


def _divide(
    root: Path, files: Sequence[Path], fraction: float, seed: int
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Split one class into training and test files; only image files become test images."""
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES] or files
    wanted = min(max(1, int(fraction * len(images) + 0.5)), len(images) - 1)
    ranked = sorted(images, key=lambda path: _rank(path.relative_to(root), seed))
    chosen = set(ranked[: max(wanted, 0)])
    train = tuple(path for path in files if path not in chosen)
    return train, tuple(path for path in files if path in chosen)


def _rank(name: Path, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/".encode() + os.fsencode(name.as_posix())).digest()
