"""Location of the data sets on disk, without loading torchvision."""

from __future__ import annotations

import os
from pathlib import Path

from workbench.data.user_paths import user_path

ENVIRONMENT = "WORKBENCH_DATA"
_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}


def data_folder(asked: Path | None = None) -> Path:
    """``--data-dir``, otherwise ``$WORKBENCH_DATA``, otherwise a folder in the user's cache."""
    if asked is not None:
        return user_path(asked)
    if os.environ.get(ENVIRONMENT):
        return user_path(os.environ[ENVIRONMENT])
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "workbench"


def is_present(source: str, folder: Path) -> bool:
    """Whether the source's files exist (their contents are checked when they are read)."""
    return source not in _FOLDERS or (folder / _FOLDERS[source]).is_dir()
