"""The queue of jobs: bounded, kept on the disk, executed by a few workers.

Every change is written to the disk before a client sees it. After a restart, jobs that were waiting
or running wait again; what they had trained is in the store.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.experiments.service.job_records import (
    CANCELLED,
    DONE,
    FAILED,
    FINAL,
    QUEUED,
    RUNNING,
    Job,
    JobFolder,
)
from workbench.experiments.service.rejections import RejectionError, busy, not_found
from workbench.experiments.service.settings import ServiceSettings
from workbench.experiments.service.worker_processes import Ended, Worker, end_orphan

_RETRY_SECONDS = 30  # for a full queue
_MOST_JOBS = 1000  # that are kept
#: Makes a worker from the settings, a job's folder and a function that notes its process group.
MakeWorker = Callable[[ServiceSettings, Path, Callable[[int], None]], Worker]


class JobQueue:
    """All jobs of a service.

    Args:
        settings: the options of the server.
        make_worker: creates the worker of a job.
    """

    def __init__(self, settings: ServiceSettings, make_worker: MakeWorker = Worker) -> None:
        self.folder = JobFolder(settings.folder / "jobs")
        self._settings, self._make_worker = settings, make_worker
        self._jobs: dict[str, Job] = {}
        self._running: dict[str, Worker] = {}
        self._cancelled: set[str] = set()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self.stopping = False

    def start(self) -> list[str]:
        """Read the jobs, end workers of a killed server, and start to work.

        Returns:
            One line for each record that is damaged.
        """
        jobs, problems = self.folder.read_all()
        for job in jobs:
            if job.state not in FINAL:
                end_orphan(job.pid, self.folder.of(job.id))
                job = job.queued()
                self.folder.write(job)
            self._jobs[job.id] = job
        for number in range(self._settings.workers):
            thread = threading.Thread(target=self._work, name=f"jobs-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)
        return problems

    def stop(self, patience: float = 30.0) -> None:
        """End the workers, so that their jobs continue after the next start."""
        with self._changed:
            self.stopping = True
            for worker in self._running.values():
                worker.stop()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(patience)

    def check_room(self) -> None:
        """Check that one more job may wait.

        Raises:
            RejectionError: 429 when the queue is full.
        """
        with self._changed:
            waiting = sum(job.state == QUEUED for job in self._jobs.values())
        if waiting >= self._settings.queue:
            raise busy(f"{waiting} jobs are waiting; try again later", _RETRY_SECONDS)
        if len(self._jobs) >= _MOST_JOBS:
            raise RejectionError(507, f"{_MOST_JOBS} jobs are kept; delete some")

    def submit(self, job: Job) -> Job:
        """Add a job whose folder has its options.

        Raises:
            RejectionError: 429 when the queue is full.
        """
        with self._changed:
            self.check_room()
            return self._store(job)

    def all(self) -> list[Job]:
        """All jobs, newest first."""
        with self._changed:
            return sorted(self._jobs.values(), key=lambda job: job.created, reverse=True)

    def get(self, job_id: str) -> Job:
        """One job.

        Raises:
            RejectionError: 404 when there is none with this id.
        """
        job = self._jobs.get(job_id)
        if job is None:
            raise not_found(f"there is no job '{job_id[:40]}'")
        return job

    def ahead(self, job: Job) -> int:
        """Number of jobs that wait before this one."""
        with self._changed:
            return sum(
                other.state == QUEUED and other.created < job.created
                for other in self._jobs.values()
            )

    def cancel(self, job_id: str) -> Job:
        """End a job; its run becomes KILLED, and can be continued by ``restart``.

        Raises:
            RejectionError: 404, or 409 when the job has ended.
        """
        with self._changed:
            job = self.get(job_id)
            if job.state in FINAL:
                raise RejectionError(409, f"the job is {job.state} already")
            if job.state == QUEUED:
                return self._store(job.ended_as(CANCELLED))
            self._cancelled.add(job_id)
            if job_id in self._running:
                self._running[job_id].stop()
            return job

    def restart(self, job_id: str) -> Job:
        """Let a job that was cancelled or failed wait again.

        Raises:
            RejectionError: 404, 409 when the job is in another state, or 429.
        """
        with self._changed:
            job = self.get(job_id)
            if job.state not in (CANCELLED, FAILED):
                raise RejectionError(409, f"the job is {job.state}; only others can be restarted")
            self.check_room()
            return self._store(replace(job.queued(), created=time.time()))

    def remove(self, job_id: str) -> None:
        """Delete the record and the files of a job that has ended; its runs stay in the store.

        Raises:
            RejectionError: 404, or 409 while the job waits or runs.
        """
        with self._changed:
            if self.get(job_id).state not in FINAL:
                raise RejectionError(409, "the job has not ended; cancel it first")
            del self._jobs[job_id]
        self.folder.remove(job_id)

    def _store(self, job: Job) -> Job:
        """Change a job for a client; nothing changes if it cannot be written."""
        try:
            self.folder.write(job)
        except OSError as error:
            raise RejectionError(507, f"the job cannot be kept ({error.strerror})") from None
        return self._set(job)

    def _keep(self, job: Job) -> Job:
        """Change a job that a worker runs. If that cannot be written, a restart repeats it."""
        with suppress(OSError):
            self.folder.write(job)
        return self._set(job)

    def _set(self, job: Job) -> Job:
        with self._changed:
            self._jobs[job.id] = job
            self._changed.notify_all()
        return job

    def _work(self) -> None:
        while (job := self._next()) is not None:
            worker = self._make_worker(
                self._settings, self.folder.of(job.id), partial(self._note, job.id)
            )
            with self._changed:
                self._running[job.id] = worker
                if self.stopping or job.id in self._cancelled:
                    worker.stop()
            try:
                ended = worker.run(job.onnx)
            except (OSError, WorkbenchError) as error:
                ended = Ended(problems=(str(error),))
            self._end(job.id, ended)

    def _next(self) -> Job | None:
        """Wait for a job and mark it as running; None when the service stops."""
        with self._changed:
            while not self.stopping:
                waiting = [job for job in self._jobs.values() if job.state == QUEUED]
                if waiting:
                    first = min(waiting, key=lambda job: job.created)
                    return self._keep(replace(first, state=RUNNING, started=time.time()))
                self._changed.wait()
        return None

    def _note(self, job_id: str, pid: int) -> None:
        with self._changed:
            self._keep(replace(self._jobs[job_id], pid=pid))

    def _end(self, job_id: str, ended: Ended) -> None:
        with self._changed:
            job, cancelled = self._jobs[job_id], job_id in self._cancelled
            self._cancelled.discard(job_id)
            self._running.pop(job_id, None)
            if ended.run_id:
                job = job.ended_as(DONE, run_id=ended.run_id)
            elif cancelled:
                job = job.ended_as(CANCELLED)
            elif self.stopping:
                job = job.queued()
            else:
                job = job.ended_as(FAILED, *ended.problems)
            self._keep(job)
