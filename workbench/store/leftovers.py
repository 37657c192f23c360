"""Find and remove folders that no run refers to any more.

Only folders that the workbench wrote are listed: artifact folders named by a run id in an
experiment that holds runs of the workbench, MLflow models that the workbench loads, and work
folders named by a key that are claimed for the same store. A model in the Model Registry is in use
even if its run is gone.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import StoreError
from workbench.store.mlflow_models import forget_models, model_folders, run_of_model
from workbench.store.mlflow_store import Store
from workbench.store.model_registry import registered_folders
from workbench.store.run_tags import KEY, KIND
from workbench.store.runs import FINISHED, MODEL_TAG
from workbench.store.tracking_uris import store_exists, store_uri
from workbench.store.unfinished_work import Work

_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Leftover:
    """A folder that can be removed: its path, the reason, and its size in bytes.

    ``model`` is the id of the MLflow model that the folder belongs to, if any.
    """

    path: Path
    reason: str
    size: int
    model: str = ""


def find_leftovers(tracking_uri: str | None, work: Work) -> list[Leftover]:
    """Find all folders under the local store and the work folder that no run refers to.

    Work of an interrupted run is not a leftover: the next ``adapt`` continues it. Artifacts on a
    server are not listed; the server has to clean them.

    Raises:
        StoreError: when there is no store to compare the folders with.
    """
    if not store_exists(tracking_uri):
        raise StoreError(f"store {store_uri(tracking_uri)}: does not exist; nothing to clean")
    store = Store(tracking_uri)
    # List folders before runs, so that a run that begins in between is known.
    roots = store.artifact_roots()
    folders = {number: _run_folders(root) for number, root in roots.items()}
    registered = registered_folders(store)
    models = {number: model_folders(root) for number, root in roots.items()}
    keys = work.begun(store.address)
    runs = store.tagged_runs(list(store.experiments().values()), (KEY, KIND, MODEL_TAG))
    known = {run.run_id for run in runs}
    # Reading the description of a model takes milliseconds, so only those in doubt are read.
    in_use = {run.tags.get(MODEL_TAG) for run in runs}
    unused = {
        number: [
            folder
            for folder in paths
            if folder.name not in in_use and folder / "artifacts" not in registered
        ]
        for number, paths in models.items()
    }
    ours = {run.experiment for run in runs if KIND in run.tags}
    done = {run.tags[KEY] for run in runs if KEY in run.tags and run.status == FINISHED}
    begun = {run.tags[KEY] for run in runs if KEY in run.tags} - done
    found = [
        _leftover(roots[number] / name, "artifacts of a run that is gone or deleted")
        for number, names in folders.items()
        if number in ours
        for name in sorted(names - known)
    ]
    found += [
        _leftover(folder, "model of a run that is gone or deleted", folder.name)
        for number, in_doubt in unused.items()
        if number in ours
        for folder in in_doubt
        if (run_id := run_of_model(folder)) and run_id not in known
    ]
    for key in keys:
        if key not in begun and not work.is_locked(key):
            reason = "work that is recorded" if key in done else "work of a run that is gone"
            found.append(_leftover(work.folder / key, reason))
    return found


def remove(leftovers: list[Leftover], tracking_uri: str | None) -> None:
    """Delete the folders, and the records of MLflow models among them."""
    models = [leftover.model for leftover in leftovers if leftover.model]
    if models:
        forget_models(Store(tracking_uri), models)
    for leftover in leftovers:
        shutil.rmtree(leftover.path, ignore_errors=True)


def _run_folders(root: Path) -> set[str]:
    """Names of the folders that are named by a run's id."""
    with os.scandir(root) as entries:
        return {each.name for each in entries if _RUN_ID.fullmatch(each.name) and each.is_dir()}


def _leftover(path: Path, reason: str, model: str = "") -> Leftover:
    files = [file for file in path.rglob("*") if file.is_file()]
    return Leftover(path, reason, sum(file.stat().st_size for file in files), model)
