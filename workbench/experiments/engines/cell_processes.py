"""One cell in a process of its own: start it, follow it, start it again after a crash, end it.

The process leads a process group, so ending it ends what it started. Its output goes to files
without names, not to pipes: a cell whose driver was killed can still write. It checks whether its
parent still exists, and ends itself if not (``end_with_parent``).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from workbench.data.whole_files import parse_json
from workbench.experiments.engines.forked_processes import Files, ForkedProcess, start_server
from workbench.training import progress_records

#: Name of the variable with the process id of the driver.
PARENT = "WORKBENCH_CELL_PARENT"
FORKED = "forked"  # its value in a forked process
_TRIES = 4  # of a cell that crashes, or whose store does not answer
_PAUSE = 3.0  # seconds before the second try; each later pause is three times as long
_PATIENCE = 6.0  # seconds that a process may take to end after SIGTERM
_LOOK_EVERY = 0.1
_TAIL = 8000  # bytes of the messages that are read
#: Errors after which a cell is tried again: the store may answer later.
_AGAIN = ("StoreError",)


@dataclass(frozen=True)
class Ended:
    """How a cell ended.

    Attributes:
        result: the JSON object that it printed; None if it failed.
        reason: why it failed; "" if it did not.
    """

    result: dict[str, Any] | None
    reason: str = ""


@dataclass
class RunningCell:
    """A cell's process, and its next one after a crash.

    Attributes:
        text: the cell in JSON.
        threads: of the cell.
        folder: working directory, for relative names such as a user's own network.
        variables: further environment variables.
        forked: whether to fork it from a process that has loaded the libraries.
    """

    text: str
    threads: int
    folder: str
    variables: Mapping[str, str] = field(default_factory=dict)
    forked: bool = False
    _left: int = _TRIES
    _again: float = 0.0
    _process: subprocess.Popen[bytes] | ForkedProcess | None = None
    _out: IO[bytes] | None = None
    _messages: IO[bytes] | None = None

    def poll(self) -> Ended | None:
        """How the cell ended; None while it runs. Starts the process when it is due."""
        if self._process is None:
            if time.monotonic() >= self._again:
                self._start()
            return None
        status = self._process.poll()
        if status is None:
            return None
        ended, again = self._read(status)
        if not (again and self._left):
            return ended
        pause = 0.0 if status < 0 else _PAUSE * 3 ** (_TRIES - 1 - self._left)
        self._again, self._process = time.monotonic() + pause, None
        return None

    def message(self) -> str:
        """The last line that the process has written on stderr."""
        lines = self._tail().splitlines()
        return lines[-1].strip() if lines else ""

    def signal_end(self) -> None:
        """Ask the process and its children to end."""
        self._left = 0
        self._kill(signal.SIGTERM)

    def _start(self) -> None:
        self._left -= 1
        streams = [_open_file() for _ in range(3)]
        text, self._out, self._messages = streams
        text.write(self.text.encode())
        text.flush()
        text.seek(0)
        parent = FORKED if self.forked else str(os.getpid())
        variables = {**_surroundings(self.threads), **self.variables, PARENT: parent}
        names = [Path(stream.name) for stream in streams]
        if self.forked:
            self._process = ForkedProcess(Files(*names), variables, self.folder)
            return
        self._process = subprocess.Popen(
            [sys.executable, "-m", "workbench", "cell", "-"],
            stdin=text,
            stdout=self._out,
            stderr=self._messages,
            cwd=self.folder if os.path.isdir(self.folder) else None,
            env={**os.environ, **variables},
            start_new_session=True,
        )
        for name in names:
            name.unlink()

    def _kill(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _read(self, status: int) -> tuple[Ended, bool]:
        """How the process ended, and whether to try again."""
        if status < 0:
            name = signal.Signals(-status).name
            hint = "; the system kills processes when memory is short" if status == -9 else ""
            return Ended(None, f"its process was ended by {name}{hint}"), True
        assert self._out is not None
        self._out.seek(0)
        try:
            found = parse_json(self._out.read())
        except ValueError:
            found = None
        if not isinstance(found, dict) or (status == 0 and "run_id" not in found):
            lines = self._tail().strip().splitlines() or ["no message"]
            return Ended(None, f"exit status {status}: {lines[-1]}"), False
        if status == 0:
            return Ended(found), False
        problems = [str(each) for each in found.get("problems", ())]
        return Ended(None, "; ".join(problems)), found.get("error") in _AGAIN

    def _tail(self) -> str:
        if self._messages is None:
            return ""
        size = os.fstat(self._messages.fileno()).st_size
        start = max(0, size - _TAIL)
        return os.pread(self._messages.fileno(), _TAIL, start).decode(errors="replace")


def _open_file() -> IO[bytes]:
    """A temporary file; the process that gets it removes its name."""
    return tempfile.NamedTemporaryFile(prefix="workbench-", delete=False)


def end_all(running: Collection[RunningCell]) -> None:
    """End processes and all their children; those that do not end in time are killed."""
    for each in running:
        each.signal_end()
    limit = time.monotonic() + _PATIENCE
    for each in running:
        if each._process is not None:
            with suppress(subprocess.TimeoutExpired):
                each._process.wait(max(0.0, limit - time.monotonic()))
            each._kill(signal.SIGKILL)


def run_to_end(text: str, threads: int, folder: str) -> Ended:
    """Run one cell and wait for it; an exception in the meantime ends it."""
    running = RunningCell(text, threads, folder)
    try:
        while (ended := running.poll()) is None:
            time.sleep(_LOOK_EVERY)
        return ended
    finally:
        end_all([running])


def end_with_parent() -> None:
    """In a cell's process: end it, as SIGTERM would, when the driver that started it is gone."""
    parent = os.environ.pop(PARENT, "")
    if parent == FORKED or parent.isdecimal():
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: str) -> None:
    if parent == FORKED:
        # The parent of the process is the fork server; Python keeps a pipe to the driver.
        if driver := multiprocessing.parent_process():
            driver.join()
    else:
        while os.getppid() == int(parent):
            time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def prepare_forks(threads: int) -> None:
    """Wait until the server for forked cells has loaded the libraries, in the main thread."""
    start_server(_surroundings(threads))


def _surroundings(threads: int) -> dict[str, str]:
    """Variables of every cell's process; the driver alone writes the file of the progress."""
    numbers = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return {**numbers, progress_records.VARIABLE: ""}


def here() -> str:
    """The working directory of the driver."""
    return str(Path.cwd())
