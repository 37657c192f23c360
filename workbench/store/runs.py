"""Runs and their input data sets, as plain data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workbench.store.tracking_uris import local_path

FINISHED, FAILED, KILLED, RUNNING = "FINISHED", "FAILED", "KILLED", "RUNNING"
INTERRUPTED = "interrupted by the user"  # the reason of a run that is KILLED
PARENT_TAG, KEY, KIND = "mlflow.parentRunId", "workbench.key", "workbench.kind"
NOTE_TAG = "mlflow.note.content"  # text on the page of a run or a model
MODEL_TAG = "workbench.model"  # id of the MLflow model that holds the run's network
MODEL_DATA = "data"  # folder of the network's file in an MLflow model
NETWORK_SUFFIXES = (".safetensors", ".onnx", ".packed", ".exits")
RUN_ID = re.compile(r"[\w-]{1,256}", re.ASCII)  # the ids that MLflow accepts


@dataclass(frozen=True)
class StoredRun:
    """One run as recorded in the store."""

    run_id: str
    name: str
    status: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    artifact_uri: str
    experiment: str
    started: str = ""  # date in UTC, as 2026-11-26

    @property
    def parent(self) -> str | None:
        """Id of the parent run; None without one."""
        return self.tags.get(PARENT_TAG)

    @property
    def train_loss(self) -> float:
        """Mean training loss of the last epoch; 0 for a network that was not trained."""
        return self.metrics.get("train_loss", 0.0)

    @property
    def model_uri(self) -> str | None:
        """Location of the run's MLflow model; None without one.

        MLflow keeps the models of an experiment in a folder beside its runs.
        """
        model = self.tags.get(MODEL_TAG)
        root = self.artifact_uri.removesuffix(f"/{self.run_id}/artifacts")
        return f"{root}/models/{model}/artifacts" if model else None

    @property
    def file_uris(self) -> tuple[str, ...]:
        """Folders with the run's files: that of its network, and that of its other artifacts."""
        model = self.model_uri
        return (*([f"{model}/{MODEL_DATA}"] if model else ()), self.artifact_uri)

    @property
    def split(self) -> str:
        """What the network was evaluated on, "test" or "validation"; metrics start with it.

        Runs with ``--validation`` of version 0.1.0 have the names of tests.
        """
        return "validation" if "validation_hits" in self.metrics else "test"

    def evaluated(self, name: str) -> float:
        """A metric of the evaluation: "hits", "images", "accuracy" or "top5_hits".

        Raises:
            KeyError: when the run has no such metric.
        """
        return self.metrics[f"{self.split}_{name}"]

    def artifact(self, name: str) -> str:
        """Location of an artifact: its local path if it has one, else an MLflow URI."""
        folders = [path for uri in self.file_uris if (path := local_path(uri))]
        if folders:
            there = (folder / name for folder in folders if (folder / name).is_file())
            return str(next(there, folders[-1] / name))
        inside = (
            f"model/{MODEL_DATA}/" if self.model_uri and name.endswith(NETWORK_SUFFIXES) else ""
        )
        return f"runs:/{self.run_id}/{inside}{name}"


@dataclass(frozen=True)
class Input:
    """A data set that a run used.

    Attributes:
        context: purpose of the data, "training", "test" or "validation".
    """

    name: str
    digest: str
    source: str
    images: int
    classes: int
    context: str


@dataclass(frozen=True)
class Wanted:
    """Which runs to read; deleted runs are never read.

    Attributes:
        experiments: ids of experiments.
        tags, params: values that the runs have.
        finished: only runs that are FINISHED.
        limit: number of runs, the newest first; None for all.
    """

    experiments: Sequence[str]
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    finished: bool = False
    limit: int | None = None
