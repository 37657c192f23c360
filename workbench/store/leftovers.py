"""What no run refers to any more, and how to remove it.

Only folders that the workbench itself names are ever offered: artifacts called by a run id in
an experiment that holds runs of the workbench, and work called by a key and claimed for the
same store.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import StoreError
from workbench.store.addresses import store_exists, store_uri
from workbench.store.mlflow_store import Store
from workbench.store.recorder import KEY, KIND
from workbench.store.runs import FINISHED
from workbench.store.unfinished_work import Work

_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Leftover:
    """A folder that can go: where it is, why, and its size in bytes."""

    path: Path
    reason: str
    size: int


def find_leftovers(tracking_uri: str | None, work: Work) -> list[Leftover]:
    """Everything under the local store and the work folder that no run refers to.

    Work of a run that was cut off is no leftover: the next ``adapt`` goes on with it. Artifacts
    on a server are the server's to clean.

    Raises:
        StoreError: when there is no store to hold things against.
    """
    if not store_exists(tracking_uri):
        raise StoreError(f"store {store_uri(tracking_uri)}: there is none; nothing to clean")
    store = Store(tracking_uri)
    # Folders first, runs afterwards: a run that begins in between is known then.
    folders = {
        number: [path for path in root.iterdir() if path.is_dir() and _RUN_ID.fullmatch(path.name)]
        for number, root in store.artifact_roots().items()
    }
    keys = work.begun(store.address)
    runs = store.runs(list(store.experiments().values()), {})
    known = {run.run_id for run in runs}
    ours = {run.experiment for run in runs if KIND in run.tags}
    done = {run.tags[KEY] for run in runs if KEY in run.tags and run.status == FINISHED}
    begun = {run.tags[KEY] for run in runs if KEY in run.tags} - done
    found = [
        _leftover(folder, "artifacts of a run that is gone or deleted")
        for number, paths in folders.items()
        if number in ours
        for folder in sorted(paths)
        if folder.name not in known
    ]
    for key in keys:
        if key not in begun and not work.is_locked(key):
            reason = "work that is recorded" if key in done else "work of a run that is gone"
            found.append(_leftover(work.folder / key, reason))
    return found


def remove(leftovers: list[Leftover]) -> None:
    """Delete them."""
    for leftover in leftovers:
        shutil.rmtree(leftover.path, ignore_errors=True)


def _leftover(path: Path, reason: str) -> Leftover:
    files = [file for file in path.rglob("*") if file.is_file()]
    return Leftover(path, reason, sum(file.stat().st_size for file in files))
