"""Networks as MLflow models: written with their run, found by it, and put into the registry.

A model is a folder with the network's file, which is the only copy in the store, and MLflow's
description of it. It has no pickle: MLflow imports a module of the workbench by its name, and that
module reads the file (``deployment.served_model``).

The model of an adaptation is that of the network it recommends. In a store on this machine its file
is a second name of the same data (a hard link), which takes no space.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from workbench import __version__
from workbench.models.weight_files import Card
from workbench.store.mlflow_store import Store
from workbench.store.mlflow_values import points_of
from workbench.store.runs import MODEL_TAG, NOTE_TAG, StoredRun
from workbench.store.tracking_uris import local_path

#: Name of every model, so that its address is ``runs:/RUN/model``.
MODEL = "model"
LOADER = "workbench.deployment.served_model"
_LIBRARIES = ("torch", "torchvision", "safetensors", "numpy", "pillow", "mlflow")
_RUNTIMES = {".onnx": ("onnxruntime",)}
_EXAMPLE_SIDE = 32  # pixels at most; an example of 224 x 224 would be a megabyte of JSON
_MOST_CLASSES = 20  # in a description
#: Metrics and parameters of a run that the page of its model shows.
_METRICS = (
    "test_accuracy", "test_hits", "test_images", "validation_accuracy", "validation_hits",
    "validation_images", "parameters", "footprint", "flops", "flops_ratio", "latency_ms",
    "latency_64_ms", "file_bytes",
)  # fmt: skip
_PARAMS = ("domain", "protocol", "method", "seed", "model", "source", "stage")


@dataclass(frozen=True)
class Described:
    """What is known about a network.

    Attributes:
        card: of its file.
        params: parameters of its run.
        metrics: metrics of its run.
    """

    card: Card
    params: Mapping[str, object]
    metrics: Mapping[str, float]


def log_model(
    store: Store, experiment: str, run_id: str, file: Path, known: Described, *, stays: bool = False
) -> StoredRun:
    """Write a network as the model of a run, in place of an earlier one.

    The run refers to the model only when it is complete.

    Args:
        experiment: id of the run's experiment.
        file: of the network, which is copied.
        stays: whether this file is in the store and stays there. On a disk that can do it, the
            copy becomes a second name of the same data.

    Returns:
        The run, with its model.
    """
    from mlflow.entities import LoggedModelOutput

    shown = {name: str(known.params[name]) for name in _PARAMS if name in known.params}
    with store.client("written") as client:
        for old in _models_of(client, experiment, run_id):
            _delete(store, client, old)
        model = client.create_logged_model(
            experiment, name=MODEL, source_run_id=run_id, params=shown, model_type="classifier"
        )
        client.set_logged_model_tags(model.model_id, {NOTE_TAG: _description(run_id, known)})
    with tempfile.TemporaryDirectory() as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow's about type hints of its own
            _write(Path(folder) / MODEL, file, known.card, run_id, model)
        with store.client("written") as client:
            client.log_model_artifacts(model.model_id, str(Path(folder) / MODEL))
            client.finalize_logged_model(model.model_id, "READY")
            client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
            points = [(name, known.metrics[name], 0) for name in _METRICS if name in known.metrics]
            client.log_batch(run_id, metrics=points_of(points, model.model_id))
            client.set_tag(run_id, MODEL_TAG, model.model_id)
    run = store.run(run_id)
    copy = store.fetch(run, file.name) if stays else None
    if copy:
        _make_one(file, copy)
    return run


def share_model(
    store: Store, parent: StoredRun, origin: StoredRun, file: Path, known: Described
) -> None:
    """Give an adaptation the model of the network that it recommends.

    In a store on another machine, the adaptation's page only links to the network's own model: a
    copy of the file would have to be sent.

    Args:
        origin: the run of the network.
        file: its file.
    """
    from mlflow.entities import LoggedModelOutput

    if local_path(parent.artifact_uri) is None:
        with store.client("written") as client:
            if MODEL_TAG in origin.tags:
                client.log_outputs(parent.run_id, [LoggedModelOutput(origin.tags[MODEL_TAG], 0)])
        return
    log_model(store, parent.experiment, parent.run_id, file, known, stays=True)


def drop_model(store: Store, run: StoredRun) -> None:
    """Delete the model of a run, with its file, if there is one."""
    if MODEL_TAG not in run.tags:
        return
    with store.client("written") as client:
        for model in _models_of(client, run.experiment, run.run_id):
            _delete(store, client, model)
        client.delete_tag(run.run_id, MODEL_TAG)


def _description(run_id: str, known: Described) -> str:
    """The text on the model's page: what it takes and gives, and how to serve it."""
    channels, size = known.card.shape[0], known.card.shape[1]
    classes = ", ".join(known.card.classes[:_MOST_CLASSES])
    more = len(known.card.classes) - _MOST_CLASSES
    return (
        f"Input: images as uint8 from 0 to 255, shape (images, height, width, {channels}), of any "
        f"size; the central square is scaled to {size} x {size}. Output: a probability for each "
        f"of the classes {classes}{f' and {more} more' if more > 0 else ''}.\n\n"
        f"`mlflow models serve -m runs:/{run_id}/{MODEL} --env-manager local`\n\n"
        f"`workbench register {run_id} --name NAME`"
    )


def model_folders(root: Path) -> list[Path]:
    """Folders of models, whoever wrote them.

    Args:
        root: folder of an experiment's artifacts.
    """
    return sorted(root.glob("models/m-*"))


def run_of_model(folder: Path) -> str | None:
    """Id of the run that a model belongs to; None if the workbench does not load the model."""
    try:
        text = (folder / "artifacts/MLmodel").read_text(encoding="utf-8")
        described = yaml.safe_load(text)
        loader = described["flavors"]["python_function"]["loader_module"]
        run_id = described["run_id"]
    except (OSError, ValueError, TypeError, LookupError, yaml.YAMLError):
        return None  # not ours, or damaged
    return run_id if loader == LOADER and isinstance(run_id, str) else None


def forget_models(store: Store, models: Sequence[str]) -> None:
    """Delete the records of models whose files are removed, if they are still there."""
    from mlflow.exceptions import MlflowException

    with store.client("written") as client:
        for model in models:
            with suppress(MlflowException):
                client.delete_logged_model(model)


def _models_of(client: Any, experiment: str, run_id: str) -> list[Any]:
    """The models of a run: at most one, and one that was left incomplete."""
    query = f"source_run_id = '{run_id}'"
    return [each for each in client.search_logged_models([experiment], query) if each.name == MODEL]


def _delete(store: Store, client: Any, model: Any) -> None:
    """Delete a model's record and its files."""
    store.repository(model.artifact_location).delete_artifacts("")
    folder = local_path(model.artifact_location)
    if folder:
        with suppress(OSError):  # its parent holds nothing else
            folder.parent.rmdir()
    client.delete_logged_model(model.model_id)


def _write(folder: Path, file: Path, card: Card, run_id: str, model: Any) -> None:
    """Write the folder of a model."""
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    channels, side = card.shape[0], min(card.shape[1], _EXAMPLE_SIDE)
    example = np.linspace(0, 255, side * side * channels).astype(np.uint8)
    mlflow.pyfunc.save_model(
        str(folder),
        loader_module=LOADER,
        data_path=str(file),
        mlflow_model=Model(
            artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id
        ),
        signature=ModelSignature(
            Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, channels))]),
            Schema([ColSpec("double", name) for name in card.classes]),
        ),
        input_example=example.reshape(1, side, side, channels),
        pip_requirements=_requirements(file),
        metadata={"classes": list(card.classes), "network": card.model, "input": list(card.shape)},
    )


def _requirements(file: Path) -> list[str]:
    """The libraries that the model needs, in the versions of this machine."""
    found = [f"pfa-workbench=={__version__}"]
    for name in (*_LIBRARIES, *_RUNTIMES.get(file.suffix, ())):
        with suppress(PackageNotFoundError):
            # "2.11.0+cpu" is a build of 2.11.0, and an index may not have it.
            found.append(f"{name}=={version(name).split('+')[0]}")
    return found


def _make_one(file: Path, copy: Path) -> None:
    """Make a copy a second name of the same data, where the file system can."""
    part = copy.with_name(f".{copy.name}.part")
    with suppress(OSError):  # another disk, or a file system without hard links
        os.link(file, part)
        os.replace(part, copy)
