"""Paths that a user names."""

from __future__ import annotations

import os
from pathlib import Path

from workbench.errors import DataError, SettingsError


def check_new_file(path: Path, option: str, suffix: str = ".safetensors") -> Path:
    """``path``, if a file can be made there.

    Raises:
        SettingsError: when the name is of another kind, taken, or in a missing folder.
    """
    if path.suffix != suffix:
        raise SettingsError(f"{option} {path}: the name must end in {suffix}")
    try:
        taken = path.exists()
    except OSError as error:  # a name that is too long
        raise SettingsError(f"{option} {path}: {error.strerror}; name another file") from None
    if taken:
        raise SettingsError(f"{option} {path}: is there already; remove it or name another")
    if not os.path.isdir(path.parent) or not os.access(path.parent, os.W_OK):
        raise SettingsError(
            f"{option} {path}: {path.parent} is no folder that can be written; make it first"
        )
    return path


def user_path(text: str | Path) -> Path:
    """A path as a user wrote it, with ``~`` for a home folder.

    Raises:
        DataError: when there is no such home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise DataError(f"{text}: there is no such home folder; write the path out") from None
