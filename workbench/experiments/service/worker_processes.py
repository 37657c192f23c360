"""Run one job in its own process, with the same commands that a user would type.

A worker is the leader of a process group, so that everything it starts ends with it. SIGTERM lets
it mark its run as KILLED; the same job continues later from its last checkpoint.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.data.checked_values import mapped, required, short_text
from workbench.data.whole_files import read_json
from workbench.errors import SettingsError
from workbench.experiments.service.job_records import (
    LOG_FILE,
    ONNX_FILE,
    PROGRESS_FILE,
)
from workbench.experiments.service.settings import TOKEN_ENVIRONMENT, ServiceSettings
from workbench.store.stored_results import OPTIONS_FILE, RESULT_FILE
from workbench.store.tracking_uris import ENVIRONMENT as STORE_ENVIRONMENT
from workbench.training.progress_records import VARIABLE as PROGRESS_ENVIRONMENT
from workbench.training.progress_records import ProgressRecords

_PATIENCE = 20.0  # seconds between SIGTERM and SIGKILL
_LOOK_EVERY = 0.1
_NICENESS = 5  # the server answers while networks are trained
_PREFIX = "workbench: "
_MOST_PROBLEMS = 20  # last lines of a log that are shown


@dataclass(frozen=True)
class Ended:
    """How a worker ended.

    Attributes:
        run_id: the adaptation's run; "" if it failed.
        problems: why it failed; empty after success.
    """

    run_id: str = ""
    problems: tuple[str, ...] = ()


@dataclass
class Worker:
    """The processes of one job, one after the other.

    Attributes:
        folder: the job's folder, with its options.
        note_pid: called with the process group of each process that is started.
    """

    settings: ServiceSettings
    folder: Path
    note_pid: Callable[[int], None]
    _process: subprocess.Popen[bytes] | None = None
    _stopped: bool = False
    _lock: Any = field(default_factory=threading.Lock)

    def run(self, onnx: bool) -> Ended:
        """Run the adaptation, and then the export; blocks until they end.

        A failed export is noted in the log. It does not make the job fail.
        """
        part = self.folder / f".{RESULT_FILE}.part"
        for name in (LOG_FILE, PROGRESS_FILE):
            (self.folder / name).write_bytes(b"")
        status = self._execute(self._adapt(), part)
        if status:
            return Ended(problems=_problems(self.folder / LOG_FILE, status))
        try:
            run_id = short_text("run_id", required("it", mapped("it", read_json(part)), "run_id"))
        except ValueError as error:
            return Ended(problems=(f"the result cannot be read ({error})",))
        os.replace(part, self.folder / RESULT_FILE)
        if onnx and has_onnx() and not (self.folder / ONNX_FILE).exists() and not self._stopped:
            self._show_task(f"{ONNX_FILE}: exported and compared with the network")
            self._execute(self._export(run_id), Path(os.devnull))
        return Ended(run_id)

    def stop(self) -> None:
        """Let the process end; returns at once."""
        with self._lock:
            self._stopped = True
            process = self._process
        if process is not None and process.poll() is None:
            threading.Thread(target=end_group, args=(process.pid, process.poll)).start()

    def _adapt(self) -> list[str]:
        settings = self.settings
        own = {"--data-dir": settings.data_dir, "--output": settings.output}
        if not (self.folder / "domains").exists():
            own["--domains"] = settings.domains
        flags = [part for name, path in own.items() if path for part in (name, str(path))]
        return ["adapt", "--config", str(self.folder / OPTIONS_FILE), "--json", *flags]

    def _export(self, run_id: str) -> list[str]:
        flags = ["--data-dir", str(self.settings.data_dir)] if self.settings.data_dir else []
        out = str(self.folder / ONNX_FILE)
        return ["export", run_id, "--format", "onnx", "--out", out, *flags]

    def _show_task(self, title: str) -> None:
        """Name the current task, for a command that reports no progress."""
        with suppress(SettingsError):  # a full disk; nothing but the display depends on it
            ProgressRecords(self.folder / PROGRESS_FILE).write(1.0, None, title, "", always=True)

    def _execute(self, words: list[str], out: Path) -> int:
        """Run one command; stdout goes to a file, and messages to the job's log."""
        with out.open("wb") as stdout, (self.folder / LOG_FILE).open("ab") as log:
            with self._lock:
                if self._stopped:
                    return -signal.SIGTERM
                process = self._process = subprocess.Popen(
                    [sys.executable, "-m", "workbench", *words],
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=log,
                    start_new_session=True,
                )
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
            self.note_pid(process.pid)
            return process.wait()

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != TOKEN_ENVIRONMENT}
        store = self.settings.tracking_uri
        return {
            **kept,
            PROGRESS_ENVIRONMENT: str(self.folder / PROGRESS_FILE),
            # An address may contain a password, which others could read among the arguments.
            **({STORE_ENVIRONMENT: store} if store else {}),
        }


def has_onnx() -> bool:
    """Whether the libraries of the extra ``[onnx]`` are installed."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript"))


def end_orphan(pid: int, folder: Path) -> None:
    """End the worker of a server that was killed, if it is still running.

    The id of its process may belong to another program now, so its arguments must name the job's
    folder.
    """
    if pid and _is_worker(pid, folder):
        end_group(pid, lambda: None if _is_worker(pid, folder) else 0)


def end_group(pid: int, ended: Callable[[], int | None]) -> None:
    """Send SIGTERM to a process group, and SIGKILL if it does not end.

    Args:
        ended: returns None while the leader is running.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if ended() is not None:
                return
            time.sleep(_LOOK_EVERY)


def _is_worker(pid: int, folder: Path) -> bool:
    return str(folder) in _arguments(pid)


def _arguments(pid: int) -> str:
    """The command line of a running process; "" if there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (OSError, ValueError):
        pass
    try:
        command = ["ps", "-o", "args=", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


def _problems(log: Path, status: int) -> tuple[str, ...]:
    """Why a command failed: its messages, or how its process ended."""
    lines = log.read_text(errors="replace").splitlines()
    found = [line.removeprefix(_PREFIX) for line in lines if line.startswith(_PREFIX)]
    if found and status > 0:
        return tuple(found[-_MOST_PROBLEMS:])
    if status == -signal.SIGKILL:
        return ("the worker was killed; the machine may have too little memory for this job",)
    last = next((line for line in reversed(lines) if line.strip()), "no message")
    return (f"the worker ended with status {status}: {last[:300]}",)
