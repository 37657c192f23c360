"""Find the file of a run, an adaptation or a path that a user names."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import MissingRunError, StoreError, WeightsError
from workbench.reporting.json_results import recommended, recommended_files
from workbench.store.mlflow_store import Store
from workbench.store.run_tags import ADAPTATION, FILE, KIND, WEIGHTS
from workbench.store.runs import FINISHED, RUN_ID, StoredRun
from workbench.store.stored_results import RESULT_FILE, read_artifact
from workbench.store.tracking_uris import store_exists
from workbench.store.unfinished_work import WEIGHTS_FILE
from workbench.store.whole_runs import is_as_recorded


@dataclass(frozen=True)
class Located:
    """A network's weight file, and the run that trained it.

    Attributes:
        weights: the file.
        run: the run; None if the user named a file.
    """

    weights: Path
    run: StoredRun | None = None


def find_weights(name: str, tracking_uri: str | None = None) -> Located:
    """The weight file of a run, or the file itself.

    Args:
        name: path of a ``.safetensors`` file, id of a training's run, or id of an adaptation's
            run, which means the trained network that it recommends.
        tracking_uri: the MLflow store; the default one when None.

    Raises:
        WeightsError: when there is no such file or run, or its weights were not kept or do not
            match the recorded hash.
        StoreError: when the store cannot be used.
    """
    return _find(name, tracking_uri, recommended, any_file=False)


def find_file(name: str, tracking_uri: str | None = None) -> Path:
    """The file of a run, such as the int8 file of a stage, or the file itself.

    Args:
        name: path of a file, id of a run of a training or a stage, or id of an adaptation's run,
            which means the file that it recommends.
        tracking_uri: the MLflow store; the default one when None.

    Raises:
        WeightsError, StoreError: as for ``find_weights``.
    """
    return find_file_and_run(name, tracking_uri).weights


def find_file_and_run(name: str, tracking_uri: str | None = None) -> Located:
    """As ``find_file``, with the run that made the file."""
    return _find(name, tracking_uri, recommended_files, any_file=True)


def _find(
    name: str, tracking_uri: str | None, choose: Callable[[Any], list[str]], *, any_file: bool
) -> Located:
    if os.path.isfile(name):
        return Located(Path(name))
    if Path(name).suffix or not RUN_ID.fullmatch(name):
        raise WeightsError(f"{name}: no such file; name a run's id or a .safetensors file")
    if not store_exists(tracking_uri):
        raise WeightsError(
            f"'{name}' is not a file, and there is no store here to look for a run; name a file, "
            "or the store by --tracking-uri"
        )
    store = Store(tracking_uri)
    try:
        run = store.run(name)
    except MissingRunError as error:
        raise WeightsError(*error.problems) from None
    except StoreError as error:
        raise WeightsError(f"run '{name}' cannot be read: {error}") from None
    if run.tags.get(KIND) == "stage" and not any_file:
        raise WeightsError(
            f"run '{name}' holds the file of a stage, {run.tags.get(FILE)}, which is used as it "
            "is; name the run of the training, or the adaptation"
        )
    for candidate in _candidates(store, run, choose):
        path = store.fetch(candidate, candidate.tags.get(FILE, WEIGHTS_FILE))
        if path is not None:
            if not is_as_recorded(candidate, path):
                raise WeightsError(
                    f"run '{candidate.run_id}': {path} is damaged: its hash is not the recorded "
                    "one; run the same command again, which repeats the training"
                )
            return Located(path, candidate)
    raise WeightsError(_no_weights(name, run))


def _no_weights(name: str, run: StoredRun) -> str:
    if run.tags.get(KIND) == "trial":
        return (
            f"run '{name}' is a trial of a search, which keeps no weights; name the search, or "
            "train this network with 'workbench adapt'"
        )
    return (
        f"run '{name}' has no weights ({_why(run)}); 'workbench ui' shows runs with their ids, and "
        "--keep-weights all keeps every network"
    )


def _candidates(
    store: Store, run: StoredRun, choose: Callable[[Any], list[str]]
) -> list[StoredRun]:
    """The runs to take a file from, in order of preference."""
    if ADAPTATION in run.tags:  # a search
        run = store.run(run.tags[ADAPTATION])
    if run.tags.get(KIND) != "adapt":
        return [run]
    if run.status != FINISHED and store.fetch(run, RESULT_FILE) is None:
        return []
    return [store.run(run_id) for run_id in read_artifact(store, run, RESULT_FILE, choose)]


def _why(run: StoredRun) -> str:
    if run.status != FINISHED:
        return f"it is {run.status}"
    if run.tags.get(WEIGHTS):
        return f"they were {run.tags[WEIGHTS]}"
    return f"it is a run of kind '{run.tags.get(KIND, 'unknown')}'"
