"""A service in this process, with workers that do what a test says."""

import threading
import time
from contextlib import contextmanager

import httpx
import uvicorn

from workbench.experiments.service.application import create_app
from workbench.experiments.service.job_queue import JobQueue
from workbench.experiments.service.job_status import JobFiles
from workbench.experiments.service.service import Service
from workbench.experiments.service.settings import ServiceSettings
from workbench.experiments.service.upload_store import UploadStore
from workbench.experiments.service.worker_processes import Ended

JOB = {"source": "digits", "target": "digits-3v8", "options": {"epochs": 1, "source_epochs": 1}}


class HeldWorker:
    """A worker that works until the test lets it go, or until it is stopped."""

    made: "list[HeldWorker]"

    def __init__(self, _settings, folder, _note_pid):
        self.folder, self._go, self.stopped = folder, threading.Event(), False
        self.made.append(self)

    def run(self, onnx):
        assert self._go.wait(30)
        return Ended(problems=("it was stopped",)) if self.stopped else Ended("a-run")

    def release(self):
        self._go.set()

    def stop(self):
        self.stopped = True
        self._go.set()


def held_workers():
    """A kind of worker of its own, with the list of those that were made."""
    return type("Held", (HeldWorker,), {"made": []})


@contextmanager
def serving(folder, workers=None, **options):
    """Run a service on a free port; yields (service, client, workers)."""
    made = workers or held_workers()
    settings = ServiceSettings(
        folder=folder, port=0, tracking_uri=f"sqlite:///{folder}/mlflow.db", **options
    )
    queue = JobQueue(settings, made)
    uploads = UploadStore(folder / "uploads", settings.upload_mb, settings.storage_mb)
    service = Service(settings, queue, uploads, JobFiles(queue, settings))
    config = uvicorn.Config(
        create_app(service), port=0, log_level="error", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield service, client, made.made
    finally:
        server.should_exit = True
        thread.join(30)


def until(condition, seconds=60):
    """Wait until a condition holds, and return its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value
