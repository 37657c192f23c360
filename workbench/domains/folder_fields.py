"""The fields of a domain file that points to a folder of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.data.catalog import LARGEST_IMAGE, SMALLEST_IMAGE
from workbench.data.folder_files import (
    SPLIT_SEED,
    TEST_FRACTION,
    Folder,
    class_names,
    is_split,
    list_folder,
)
from workbench.data.user_paths import user_path
from workbench.domains.strict_yaml import Odd, Places
from workbench.errors import DataError

FOLDER_FIELDS = ("folder", "test_fraction", "seed", "image_size")


@dataclass(frozen=True)
class FolderFields:
    """The folder fields of a domain file; ``image_size`` None means the network's own size."""

    path: Path
    test_fraction: float = TEST_FRACTION
    seed: int = SPLIT_SEED
    image_size: int | None = None

    def find(self, classes: tuple[str, ...] | None) -> Folder:
        """Find the folder's files.

        Raises:
            DataError: as ``folder_files.list_folder``.
        """
        return list_folder(self.path, classes, test_fraction=self.test_fraction, seed=self.seed)


def read_folder_fields(
    place: Places, raw: dict[str, Any]
) -> tuple[FolderFields | None, list[str], list[str]]:
    """Read the folder fields of a domain file.

    Args:
        place: positions in the file, for messages; relative paths start at the file's folder.
        raw: all values of the file.

    Returns:
        The fields, or None if they are not valid; the folder's classes, as far as they are
        known; and one line for each mistake.
    """
    if "folder" not in raw:
        return (
            None,
            [],
            [
                f"{place(key)}: needs a folder; add 'folder: path' or remove the line"
                for key in FOLDER_FIELDS
                if key in raw
            ],
        )
    problems = _number_problems(place, raw)
    path, names, more = _read_path(place, raw)
    problems += more
    if problems or path is None:
        return None, names, problems
    fraction, seed, size = (raw.get(key) for key in FOLDER_FIELDS[1:])
    fields = FolderFields(
        path,
        _number(fraction) if "test_fraction" in raw else TEST_FRACTION,
        seed if isinstance(seed, int) else SPLIT_SEED,
        size if isinstance(size, int) else None,
    )
    return fields, names, []


def _number_problems(place: Places, raw: dict[str, Any]) -> list[str]:
    """One line for each invalid number."""
    problems = []
    fraction, seed, size = (raw.get(key) for key in FOLDER_FIELDS[1:])
    if "test_fraction" in raw and not 0 < _number(fraction) < 1:
        problems.append(
            f"{place('test_fraction')}: '{_text(fraction)}' is not within (0, 1); try 0.2"
        )
    if "seed" in raw and not isinstance(seed, int):
        problems.append(f"{place('seed')}: '{_text(seed)}' is not a whole number >= 0; try 0")
    if "image_size" in raw and not _is_size(size):
        problems.append(
            f"{place('image_size')}: '{_text(size)}' is not a number of pixels from "
            f"{SMALLEST_IMAGE} to {LARGEST_IMAGE}; try 64"
        )
    return problems


def _read_path(place: Places, raw: dict[str, Any]) -> tuple[Path | None, list[str], list[str]]:
    """Look into the folder: its path, None if the value is none; its classes; and problems."""
    folder = raw["folder"]
    if not isinstance(folder, str) or not folder:
        return None, [], [f"{place('folder')}: '{_text(folder)}' is not a path; put it in quotes"]
    try:
        path = place.path.parent / user_path(folder)
        names = class_names(path)
    except DataError as error:
        return None, [], [f"{place('folder')}: {problem}" for problem in error.problems]
    problems = [
        f"{place(key)}: has no effect: the folder has its own train/ and test/; remove it"
        for key in ("test_fraction", "seed")
        if key in raw and is_split(path)
    ]
    return path, names, problems


def _is_size(value: object) -> bool:
    return isinstance(value, int) and SMALLEST_IMAGE <= value <= LARGEST_IMAGE


def _number(value: object) -> float:
    """Convert a value of the file to a number; NaN if it is not one."""
    if isinstance(value, Odd) and value.kind == "float":
        try:
            return float(value.text)
        except ValueError:  # .5e or 1_0.0, which are numbers in YAML only
            return float("nan")
    return float(value) if isinstance(value, int) else float("nan")


def _text(value: object) -> str:
    if isinstance(value, Odd):
        return value.text
    return "a list" if isinstance(value, list) else str(value)
