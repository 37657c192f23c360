"""A job as plain data for clients: state, progress, result and files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.data.whole_files import read_json
from workbench.errors import WorkbenchError
from workbench.experiments.service.job_progress import job_progress
from workbench.experiments.service.job_queue import JobQueue
from workbench.experiments.service.job_records import (
    DONE,
    LOG_FILE,
    ONNX_FILE,
    QUEUED,
    RUNNING,
    Job,
)
from workbench.experiments.service.job_requests import without_paths
from workbench.experiments.service.rejections import RejectionError, not_found
from workbench.experiments.service.settings import ServiceSettings
from workbench.store.stored_results import OPTIONS_FILE, RECIPE_FILE, REPORT_FILE, RESULT_FILE
from workbench.store.unfinished_work import WEIGHTS_FILE

if TYPE_CHECKING:
    from workbench.store.mlflow_store import Store

_PRIVATE = ("tracking_uri",)  # of the result
#: Files of a finished job, in the order in which they are shown: media type and description.
FILES: dict[str, tuple[str, str]] = {
    REPORT_FILE: ("text/html; charset=utf-8", "report with charts and tables"),
    WEIGHTS_FILE: ("application/octet-stream", "weights of the recommended network"),
    ONNX_FILE: ("application/octet-stream", "the recommended network for onnxruntime"),
    RECIPE_FILE: ("application/json", "filters that each layer keeps, for --recipe-file"),
    OPTIONS_FILE: ("application/yaml", "options that repeat the adaptation, for --config"),
    RESULT_FILE: ("application/json", "all results"),
    LOG_FILE: ("text/plain; charset=utf-8", "messages of the adaptation"),
}


@dataclass(frozen=True)
class JobFiles:
    """Where the files of jobs are."""

    queue: JobQueue
    settings: ServiceSettings

    def status(self, job: Job) -> dict[str, Any]:
        """State and progress of a job."""
        folder = self.queue.folder.of(job.id)
        progress = job_progress(folder, self.shown) if job.state == RUNNING else None
        return {
            "id": job.id,
            "title": job.title,
            "state": job.state,
            "created": job.created,
            "started": job.started or None,
            "ended": job.ended or None,
            "waiting_before": self.queue.ahead(job) if job.state == QUEUED else None,
            "progress": progress,
            "problems": [self.shown(problem) for problem in job.problems],
            "run_id": job.run_id or None,
            "request": dict(job.request),
        }

    def result(self, job: Job) -> dict[str, Any]:
        """The result of a finished job, as ``adapt --json`` prints it, without paths.

        Raises:
            RejectionError: 409 when it has not finished.
        """
        self._check_done(job)
        try:
            found = read_json(self.queue.folder.of(job.id) / RESULT_FILE)
        except ValueError as error:
            raise RejectionError(410, f"the result {error}; run the job again") from None
        for network in (*found.get("protocols", ()), *found.get("stages", ())):
            network["weights"] = network.get("weights") is not None
        for name in _PRIVATE:
            found.pop(name, None)
        found.get("settings", {}).pop("weights", None)
        return dict(found)

    def files(self, job: Job) -> list[dict[str, Any]]:
        """Names, sizes and descriptions of the files of a job."""
        found = []
        for name, (_, text) in FILES.items():
            path = self._find(job, name)
            if path is not None:
                found.append({"name": name, "bytes": path.stat().st_size, "description": text})
        return found

    def file(self, job: Job, name: str) -> Path:
        """One file of a job.

        Raises:
            RejectionError: 404 when the job has no such file.
        """
        path = self._find(job, name) if name in FILES else None
        if path is None:
            raise not_found(f"the job has no file '{name[:60]}'")
        return path

    def _find(self, job: Job, name: str) -> Path | None:
        own = self.queue.folder.of(job.id) / name
        if name in (LOG_FILE, ONNX_FILE, RESULT_FILE):
            return own if own.is_file() and (job.state == DONE or name == LOG_FILE) else None
        if job.state != DONE:
            return None
        return self._of_run(job, name)

    def _of_run(self, job: Job, name: str) -> Path | None:
        """A file of the adaptation's run, or the weights of its recommended network."""
        from workbench.reporting.json_results import recommended

        try:
            if name != WEIGHTS_FILE:
                return self._store.fetch(self._store.run(job.run_id), name)
            result = read_json(self.queue.folder.of(job.id) / RESULT_FILE)
            runs = [self._store.run(run_id) for run_id in recommended(result)]
            found = (self._store.fetch(run, WEIGHTS_FILE) for run in runs)
            return next((path for path in found if path), None)
        except (WorkbenchError, ValueError):  # deleted or damaged since
            return None

    @cached_property
    def _store(self) -> Store:
        """Kept open: files of a store that is a server are copied to a folder that it owns."""
        from workbench.store.mlflow_store import Store

        return Store(self.settings.tracking_uri)

    def _check_done(self, job: Job) -> None:
        if job.state != DONE:
            raise RejectionError(409, f"the job is {job.state}; it has no result")

    def predict(self, job: Job, image: Path, top: int) -> dict[str, Any]:
        """Classes and probabilities of an image with the recommended network.

        Raises:
            RejectionError: 409 when the job has not finished.
            WorkbenchError: when the image or the network cannot be read.
        """
        from workbench.deployment.predict import predict

        self._check_done(job)
        (found,) = predict(job.run_id, [image], top=top, tracking_uri=self.settings.tracking_uri)
        return {"classes": list(found.classes), "probabilities": list(found.probabilities)}

    def shown(self, text: str) -> str:
        """A text with paths relative to the service's folder and to ``--root``."""
        return without_paths(text, self.settings.folder, self.settings.root)
