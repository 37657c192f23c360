"""From what a user names (a run, an adaptation, a file) to the weight file that is meant."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import StoreError, WeightsError
from workbench.store.addresses import store_exists
from workbench.store.mlflow_store import Store
from workbench.store.recorder import IMAGES_FILE, KIND, WEIGHTS
from workbench.store.runs import FINISHED, StoredRun
from workbench.store.unfinished_work import WEIGHTS_FILE


@dataclass(frozen=True)
class Located:
    """A network's weight file, and some of its test images where they lie in a folder."""

    weights: Path
    images: tuple[Path, ...] = ()


def find_weights(name: str, tracking_uri: str | None = None) -> Located:
    """The weight file of a run, or the file itself.

    Args:
        name: path of a ``.safetensors`` file, id of a training's run, or id of an adaptation's
            run, which stands for the network that it recommends.
        tracking_uri: the MLflow store; the default one when None.

    Raises:
        WeightsError: when there is no such file or run, or its weights were not kept.
        StoreError: when the store cannot be used.
    """
    if Path(name).suffix or Path(name).is_file():
        if not Path(name).is_file():
            raise WeightsError(f"{name}: no such file; name a run's id or a .safetensors file")
        return Located(Path(name))
    if not store_exists(tracking_uri):
        raise WeightsError(
            f"'{name}' is no file, and there is no store here to look for a run in; name a file, "
            "or the store by --tracking-uri"
        )
    store = Store(tracking_uri)
    try:
        run = store.run(name)
    except StoreError as error:
        raise WeightsError(f"run '{name}' cannot be read: {error}") from None
    for candidate in _trainings(store, run):
        path = store.fetch(candidate, WEIGHTS_FILE)
        if path is not None:
            images = store.fetch(candidate, IMAGES_FILE)
            return Located(path, tuple(map(Path, json.loads(images.read_text())) if images else ()))
    raise WeightsError(
        f"run '{name}' has no weights ({_why(run)}); 'workbench compare' lists runs, and "
        "--keep-weights all keeps every network"
    )


def _trainings(store: Store, run: StoredRun) -> list[StoredRun]:
    """The runs whose weights are meant, the likeliest first."""
    if run.tags.get(KIND) != "adapt":
        return [run]
    result = store.fetch(run, "result.json")
    if result is None:
        return []
    told = json.loads(result.read_text())
    taken = next(p for p in told["protocols"] if p["protocol"] == told["recommended"])
    return [store.run(run_id) for run_id in taken["run_ids"]]


def _why(run: StoredRun) -> str:
    if run.status != FINISHED:
        return f"it is {run.status}"
    if run.tags.get(WEIGHTS):
        return f"they were {run.tags[WEIGHTS]}"
    return f"it is a run of kind '{run.tags.get(KIND, 'unknown')}'"
