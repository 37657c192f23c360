"""Copies of files that are on an MLflow server."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path


@cache
def copies_folder() -> Path:
    """The folder for copies, removed when the process ends.

    A file is used longer than the ``Store`` that fetched it.
    """
    folder = Path(tempfile.mkdtemp(prefix="workbench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
