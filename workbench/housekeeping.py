"""What no run refers to any more, and how to remove it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import StoreError
from workbench.recording import KEY
from workbench.stores import store_exists, store_uri
from workbench.tracking import FINISHED, Store
from workbench.work import Work


@dataclass(frozen=True)
class Leftover:
    """A folder or file that can go: where it is, why, and its size in bytes."""

    path: Path
    reason: str
    size: int


def find_leftovers(tracking_uri: str | None, output: Path) -> list[Leftover]:
    """Everything under the local store and the work folder that no run refers to.

    Work of a run that was cut off is no leftover: the next ``adapt`` goes on with it. Artifacts
    on a server are the server's to clean.

    Raises:
        StoreError: when there is no store to hold things against.
    """
    if not store_exists(tracking_uri):
        raise StoreError(f"store {store_uri(tracking_uri)}: there is none; nothing to clean")
    store = Store(tracking_uri)
    runs = store.runs(list(store.experiments().values()), {})
    known = {run.run_id for run in runs}
    done = {run.tags[KEY] for run in runs if KEY in run.tags and run.status == FINISHED}
    begun = {run.tags[KEY] for run in runs if KEY in run.tags} - done
    found = []
    for root in store.artifact_roots():
        for folder in sorted(path for path in root.iterdir() if path.is_dir()):
            if folder.name not in known:
                found.append(_leftover(folder, "artifacts of a run that is gone or deleted"))
    work = Work(output)
    for key in work.begun():
        if work.is_locked(key) or key in begun:
            continue
        reason = "work that is recorded" if key in done else "work of a run that is gone"
        found.append(_leftover(output / key, reason))
    return found


def remove(leftovers: list[Leftover]) -> None:
    """Delete them."""
    for leftover in leftovers:
        if leftover.path.is_dir():
            shutil.rmtree(leftover.path, ignore_errors=True)
        else:
            leftover.path.unlink(missing_ok=True)


def _leftover(path: Path, reason: str) -> Leftover:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return Leftover(path, reason, sum(file.stat().st_size for file in files))
