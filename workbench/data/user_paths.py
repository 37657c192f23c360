"""Paths that the user gives."""

from __future__ import annotations

import os
from pathlib import Path

from workbench.errors import DataError, SettingsError


def check_new_file(path: Path, option: str, *suffixes: str) -> Path:
    """Return ``path`` if a file can be created there.

    Args:
        suffixes: allowed endings of its name; ``.safetensors`` if there are none.

    Raises:
        SettingsError: when the suffix is wrong, the file exists, or the folder is not writable.
    """
    allowed = suffixes or (".safetensors",)
    if path.suffix not in allowed:
        raise SettingsError(f"{option} {path}: the name must end in {' or '.join(allowed)}")
    try:
        taken = path.exists()
    except OSError as error:  # a name that is too long
        raise SettingsError(f"{option} {path}: {error.strerror}; use another name") from None
    if taken:
        raise SettingsError(f"{option} {path}: already exists; remove it or use another name")
    if not os.path.isdir(path.parent) or not os.access(path.parent, os.W_OK):
        raise SettingsError(
            f"{option} {path}: {path.parent} is not a writable folder; create it first"
        )
    return path


def user_path(text: str | Path) -> Path:
    """Convert a path as the user wrote it; ``~`` is a home folder.

    Raises:
        DataError: when the home folder does not exist, or the path has a NUL character.
    """
    if "\0" in str(text):
        raise DataError(f"{text}: a path cannot have a NUL character; remove it")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise DataError(f"{text}: this home folder does not exist; write the path out") from None
