"""The MLflow store: experiments, runs and their files.

Runs are written through ``MlflowClient`` with explicit ids; the global MLflow state of a
notebook is neither read nor changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from workbench.errors import MissingRunError, StoreError
from workbench.store.experiment_views import show
from workbench.store.mlflow_connection import Connection
from workbench.store.mlflow_tables import create_experiment
from workbench.store.mlflow_values import (
    cut_tags,
    dataset_inputs,
    params_of,
    points_of,
    stored_run,
    tags_of,
    user_name,
)
from workbench.store.runs import (
    INTERRUPTED,
    KILLED,
    PARENT_TAG,
    RUN_ID,
    RUNNING,
    Input,
    StoredRun,
    Wanted,
)
from workbench.store.server_copies import copied
from workbench.store.server_runs import search
from workbench.store.sqlite_runs import read_runs, read_tags
from workbench.store.tracking_uris import local_path

_FAILURE = "workbench.failure"
_MOST_POINTS = 800  # metrics in one request; MLflow takes 1,000 values
_LONGEST_ID = 60  # characters of a wrong run id in a message


class Store:
    """An MLflow tracking store.

    Args:
        uri: tracking URI. When None, ``$MLFLOW_TRACKING_URI`` is used, or SQLite under
            ``mlruns`` if that is not set.
        writes: whether something may be written; otherwise a SQLite file that cannot be written
            is opened, too.

    Attributes:
        uri: the tracking URI as given.
        shown: the URI without a password, for messages.
        address: the URI with the absolute path of a SQLite file.

    Raises:
        StoreError: when the store cannot be reached, read or written.
    """

    def __init__(self, uri: str | None = None, *, writes: bool = True) -> None:
        connection = Connection(uri, writes=writes)
        self.uri, self.shown, self.address = connection.uri, connection.shown, connection.address
        self._client, self._guard = connection.client, connection.guard
        self._database = connection.database

    @property
    def is_shared(self) -> bool:
        """Whether machines that share no lock files can write to the store."""
        return self._database is None

    def experiment(self, name: str) -> str:
        """Id of the experiment of that name, which is created on first use."""
        location = None
        if self._database:
            location = (self._database.parent / "artifacts" / name).resolve().as_uri()
        with self._guard("written"):
            found = self._client.get_experiment_by_name(name)
            if found is None:
                found = create_experiment(self._client, name, location)
            if found.lifecycle_stage == "deleted":
                raise StoreError(
                    f"store {self.shown}: experiment '{name}' was deleted; restore it with "
                    f"'mlflow experiments restore -x {found.experiment_id}'"
                )
            show(self._client, found)
            return str(found.experiment_id)

    def experiments(self) -> dict[str, str]:
        """Id of every experiment that is not deleted, by name."""
        with self._guard("read"):
            return {item.name: item.experiment_id for item in self._client.search_experiments()}

    def artifact_roots(self) -> dict[str, Path]:
        """Folders on this machine that hold the runs' artifacts, by the experiment's id."""
        with self._guard("read"):
            found = {
                str(item.experiment_id): local_path(item.artifact_location)
                for item in self._client.search_experiments()
            }
        return {number: path for number, path in found.items() if path and path.is_dir()}

    def runs(
        self,
        experiments: Sequence[str],
        tags: Mapping[str, str],
        *,
        params: Mapping[str, str] | None = None,
        finished: bool = False,
        limit: int | None = None,
    ) -> list[StoredRun]:
        """Runs with these tags and parameters that are not deleted, newest first.

        Args:
            limit: number of runs; None for all.
        """
        wanted = Wanted(experiments, tags, params or {}, finished, limit)
        if not experiments:
            return []
        with self._guard("read"):
            if self._database:
                return read_runs(self._database, wanted)
            return search(self._client, wanted)

    def tagged_runs(self, experiments: Sequence[str], names: Sequence[str]) -> list[StoredRun]:
        """All runs that are not deleted, with at least these tags, but without their metrics.

        In a SQLite store, this reads little of each run.
        """
        if not (self._database and experiments):
            return self.runs(experiments, {})
        with self._guard("read"):
            return read_tags(self._database, experiments, names)

    def run(self, run_id: str) -> StoredRun:
        """One run by its id.

        Raises:
            MissingRunError: when the store has no run with this id.
        """
        from mlflow.exceptions import MlflowException

        shown = run_id if len(run_id) <= _LONGEST_ID else f"{run_id[:_LONGEST_ID]}..."
        missing = MissingRunError(
            f"there is no run '{shown}' in {self.shown}; 'workbench ui' shows runs with their ids"
        )
        if not RUN_ID.fullmatch(run_id):
            raise missing
        with self._guard("read"):
            try:
                return stored_run(self._client.get_run(run_id))
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        raise missing

    def start(
        self,
        experiment: str,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, object],
        parent: str | None = None,
    ) -> str:
        """Begin a run and return its id."""
        tags = {
            **tags,
            "mlflow.user": user_name(),
            "mlflow.source.name": "workbench",
            "mlflow.source.type": "LOCAL",
        }
        if parent:
            tags[PARENT_TAG] = parent
        with self._ended_if_interrupted() as begun:
            with self._guard("written"):
                run = self._client.create_run(experiment, run_name=name, tags=cut_tags(tags))
                begun.append(str(run.info.run_id))
            self.log(begun[0], params=params)
        return begun[0]

    def reopen(self, run: StoredRun, params: Mapping[str, object]) -> None:
        """Set an interrupted run to RUNNING again.

        The run may have been interrupted before its parameters were written, so they are written
        again; MLflow accepts equal values.
        """
        with self._ended_if_interrupted() as begun:
            with self._guard("written"):
                self._client.update_run(run.run_id, status=RUNNING)
                begun.append(run.run_id)
                if _FAILURE in run.tags:
                    self._client.delete_tag(run.run_id, _FAILURE)
            self.log(run.run_id, params=params)

    def log(
        self,
        run_id: str,
        *,
        metrics: Mapping[str, float] | None = None,
        steps: Sequence[tuple[str, float, int]] = (),
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write metrics (plain, or by step), parameters and tags to a run."""
        values = [(name, value, 0) for name, value in (metrics or {}).items()] + list(steps)
        with self._guard("written"):
            points = points_of(values)
            self._client.log_batch(
                run_id, points[:_MOST_POINTS], params_of(params or {}), tags_of(tags or {})
            )
            for start in range(_MOST_POINTS, len(points), _MOST_POINTS):
                self._client.log_batch(run_id, points[start : start + _MOST_POINTS])

    def logged_steps(self, run_id: str, metric: str) -> dict[int, float]:
        """Values of a metric by the step at which they were logged."""
        with self._guard("read"):
            history = self._client.get_metric_history(run_id, metric)
        return {point.step: point.value for point in history}

    def log_inputs(self, run_id: str, inputs: Sequence[Input]) -> None:
        """Record the data sets that a run uses."""
        with self._guard("written"):
            self._client.log_inputs(run_id, dataset_inputs(inputs))

    def attach(self, run_id: str, path: Path) -> None:
        """Copy a file into a run's artifacts."""
        with self._guard("written"):
            self._client.log_artifact(run_id, str(path))

    def attach_text(self, run_id: str, name: str, text: str) -> None:
        """Write a text artifact."""
        with self._guard("written"):
            self._client.log_text(run_id, text, name)

    def fetch(self, run: StoredRun, name: str) -> Path | None:
        """A local copy of an artifact (the file itself in a local store); None when absent.

        A network is in the run's MLflow model; runs of earlier versions have it beside their other
        artifacts.
        """
        for uri in run.file_uris:
            folder = local_path(uri)
            if folder and (folder / name).is_file():
                return folder / name
            if folder is None and (copy := self._download(run, uri, name)):
                return copy
        return None

    def _download(self, run: StoredRun, uri: str, name: str) -> Path | None:
        """A copy of a file that is directly in a folder of artifacts on a server."""
        with self._guard("read"):
            return copied(self.repository(uri), run.run_id, name)

    def repository(self, uri: str) -> Any:
        """MLflow's access to a folder of artifacts."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(uri, tracking_uri=self.address)

    def drop(self, run: StoredRun, name: str) -> None:
        """Delete an artifact if it exists, wherever the run has it."""
        if self.fetch(run, name) is None:
            return
        with self._guard("written"):
            for uri in run.file_uris:
                with suppress(FileNotFoundError):
                    self.repository(uri).delete_artifacts(name)

    def delete(self, run_id: str) -> None:
        """Delete a run; MLflow keeps it in its trash."""
        with self._guard("written"):
            self._client.delete_run(run_id)

    def end(self, run_id: str, status: str, reason: str = "") -> None:
        """Close a run and record the reason of a failure in a tag."""
        if reason:
            self.log(run_id, tags={_FAILURE: reason})
        with self._guard("written"):
            self._client.set_terminated(run_id, status)

    @contextmanager
    def _ended_if_interrupted(self) -> Iterator[list[str]]:
        """Mark the runs in a list as KILLED after an interrupt: the caller does not know them."""
        begun: list[str] = []
        try:
            yield begun
        except (KeyboardInterrupt, SystemExit):
            for run_id in begun:
                with suppress(StoreError):  # the interrupt is what the caller must see
                    self.end(run_id, KILLED, INTERRUPTED)
            raise

    @contextmanager
    def client(self, what: str) -> Iterator[Any]:
        """The ``MlflowClient``, locked and guarded, for what this class has no method for.

        Args:
            what: "read" or "written", for the message of a failure.
        """
        with self._guard(what):
            yield self._client
