"""The parts of a running service, shared by the API and the pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from workbench.domains.search import domain_files
from workbench.errors import WorkbenchError
from workbench.experiments.service.job_queue import JobQueue
from workbench.experiments.service.job_records import FINAL, Job
from workbench.experiments.service.job_requests import JobRequest, Names, prepare_job, without_paths
from workbench.experiments.service.job_status import JobFiles
from workbench.experiments.service.settings import ServiceSettings
from workbench.experiments.service.turns import Turns
from workbench.experiments.service.upload_store import UploadStore

_MOST_CHECKS = _MOST_PREDICTIONS = 8  # that work or wait


@dataclass
class Service:
    """A service and what its clients can do with it."""

    settings: ServiceSettings
    queue: JobQueue
    uploads: UploadStore
    files: JobFiles
    checks: Turns = field(default_factory=lambda: Turns(_MOST_CHECKS))
    predictions: Turns = field(default_factory=lambda: Turns(_MOST_PREDICTIONS))

    @classmethod
    def of(cls, settings: ServiceSettings) -> Service:
        """The service of these settings; nothing is read or started yet."""
        queue = JobQueue(settings)
        uploads = UploadStore(settings.folder / "uploads", settings.upload_mb, settings.storage_mb)
        return cls(settings, queue, uploads, JobFiles(queue, settings))

    def start(self) -> list[str]:
        """Start to work; return one line for each damaged record."""
        self.uploads.clean()
        return self.queue.start()

    def submit(self, request: JobRequest, onnx: bool = True) -> Job:
        """Check a request and add its job to the queue.

        Raises:
            WorkbenchError: with the problems of the request.
            RejectionError: 429 when the queue is full.
        """
        self.queue.check_room()
        names = Names(self.uploads, self.settings.root)
        with self.checks.take("requests"):
            job = prepare_job(request, names, self.queue.folder, self.settings, onnx)
        try:
            return self.queue.submit(job)
        except BaseException:
            self.queue.folder.remove(job.id)
            raise

    def remove_upload(self, upload_id: str) -> None:
        """Delete an upload that no job needs.

        Raises:
            RejectionError: 404, or 409 if a job that has not ended needs it.
        """
        waiting = [job for job in self.queue.all() if job.state not in FINAL]
        used = {name for job in waiting for name in JobRequest(**job.request).uploads()}
        self.uploads.remove(upload_id, used)

    def predict(self, job_id: str, image: BinaryIO, top: int) -> dict[str, Any]:
        """Classes and probabilities of an uploaded image.

        Raises:
            WorkbenchError: when the job has no network, or the image cannot be read.
        """
        job = self.queue.get(job_id)
        with self.predictions.take("predictions"), _image_file(image) as path:
            try:
                return self.files.predict(job, path, top)
            except WorkbenchError as error:
                error.problems = tuple(
                    without_paths(problem, path.parent) for problem in error.problems
                )
                raise

    def domains(self) -> list[str]:
        """Names of the known domains."""
        return list(domain_files(self.settings.domains))


@contextmanager
def _image_file(content: BinaryIO) -> Iterator[Path]:
    """The image as a file with a name that messages can show."""
    with TemporaryDirectory(prefix="workbench-") as folder:
        path = Path(folder) / "image"
        path.write_bytes(content.read())
        yield path
