"""Copies of files that are on an MLflow server."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any


@cache
def copies_folder() -> Path:
    """The folder for copies, removed when the process ends.

    A file is used longer than the ``Store`` that fetched it.
    """
    folder = Path(tempfile.mkdtemp(prefix="workbench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def copied(repository: Any, run_id: str, name: str) -> Path | None:
    """A copy of a file that is directly in a folder of artifacts; None if it is not there.

    Args:
        repository: MLflow's access to the folder.
        run_id: the run that has the file.
    """
    if name not in {item.path for item in repository.list_artifacts()}:
        return None
    folder = copies_folder() / run_id
    folder.mkdir(exist_ok=True)
    return Path(repository.download_artifacts(name, str(folder)))
