"""Jobs as plain data, each in a JSON file of its own folder."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from workbench.data.checked_values import listed, mapped, number, short_text, whole
from workbench.data.whole_files import read_json, write_text

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
STATES = (QUEUED, RUNNING, DONE, FAILED, CANCELLED)
#: States that only a client changes.
FINAL = (DONE, FAILED, CANCELLED)
JOB_ID = re.compile(r"[0-9a-f]{16}")
JOB_FILE, PROGRESS_FILE = "job.json", "progress.jsonl"
LOG_FILE, ONNX_FILE = "log.txt", "network.onnx"


@dataclass(frozen=True)
class Job:
    """One adaptation that a client asked for.

    Attributes:
        id: 16 hexadecimal digits.
        title: source and target, for people.
        request: what the client asked for.
        onnx: whether an ONNX file is made at the end.
        created, started, ended: times in seconds since 1970, UTC; 0 if it has not happened.
        state: one of ``STATES``.
        problems: why it failed, one line for each problem.
        run_id: the adaptation's run in the store; "" before it is done.
        pid: process group of its worker; 0 without one.
    """

    id: str
    title: str
    request: Mapping[str, Any]
    onnx: bool = False
    created: float = field(default_factory=time.time)
    started: float = 0.0
    ended: float = 0.0
    state: str = QUEUED
    problems: tuple[str, ...] = ()
    run_id: str = ""
    pid: int = 0

    def queued(self) -> Job:
        """The job as it waits for a worker, new or again."""
        return replace(self, state=QUEUED, started=0.0, ended=0.0, problems=(), pid=0)

    def ended_as(self, state: str, *problems: str, run_id: str = "") -> Job:
        """The job in a final state."""
        return replace(
            self, state=state, ended=time.time(), problems=problems, run_id=run_id, pid=0
        )


def new_id() -> str:
    """An id that cannot be guessed."""
    return secrets.token_hex(8)


@dataclass(frozen=True)
class JobFolder:
    """The folder with one subfolder for each job."""

    path: Path

    def of(self, job_id: str) -> Path:
        """The folder of a job."""
        return self.path / job_id

    def write(self, job: Job) -> None:
        """Write a job's record, whole or not at all.

        Raises:
            OSError: when it cannot be written.
        """
        write_text(self.of(job.id) / JOB_FILE, json.dumps(asdict(job), indent=1))

    def read_all(self) -> tuple[list[Job], list[str]]:
        """All jobs, oldest first, and one line for each record that is damaged.

        A folder without a record is the rest of a job that was not accepted. It is removed.
        """
        jobs, problems = [], []
        self.path.mkdir(parents=True, exist_ok=True)
        for folder in self.path.iterdir():
            if not JOB_ID.fullmatch(folder.name):
                continue
            if not (folder / JOB_FILE).exists():
                shutil.rmtree(folder, ignore_errors=True)
                continue
            try:
                jobs.append(_checked(folder.name, read_json(folder / JOB_FILE)))
            except ValueError as error:
                problems.append(f"{folder / JOB_FILE}: is damaged ({error}); the job is left out")
        return sorted(jobs, key=lambda job: job.created), problems

    def remove(self, job_id: str) -> None:
        """Delete all files of a job."""
        (self.of(job_id) / JOB_FILE).unlink(missing_ok=True)  # first: without it, it is no job
        shutil.rmtree(self.of(job_id), ignore_errors=True)


def _checked(job_id: str, content: Any) -> Job:
    saved = mapped("it", content)
    state = short_text("state", saved.get("state"))
    if saved.get("id") != job_id or state not in STATES:
        raise ValueError("its id or its state is not valid")
    created, started, ended = (
        number(name, saved.get(name)) for name in ("created", "started", "ended")
    )
    return Job(
        id=job_id,
        title=short_text("title", saved.get("title")),
        request=mapped("request", saved.get("request")),
        onnx=saved.get("onnx") is True,
        created=created,
        started=started,
        ended=ended,
        state=state,
        problems=tuple(str(line) for line in listed("problems", saved.get("problems"))),
        run_id=short_text("run_id", saved.get("run_id")),
        pid=whole("pid", saved.get("pid")),
    )
