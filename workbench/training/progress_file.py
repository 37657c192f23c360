"""The progress of a command in a file, for a program that started the command and shows it.

If ``$WORKBENCH_PROGRESS`` names a file, the file holds the current state as JSON: the task with
its steps, the number of finished tasks, and the last lines of text. The file is replaced as a
whole, at most a few times a second, and never grows beyond a few kilobytes.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ENVIRONMENT = "WORKBENCH_PROGRESS"
LINES = 30  # last lines that are kept
_EVERY = 0.4  # seconds between two writes during one task


class ProgressFile:
    """Writes the state; a file that cannot be written does not stop the work.

    Args:
        path: the file, in a folder that exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: deque[str] = deque(maxlen=LINES)
        self._task: dict[str, Any] | None = None
        self._finished = 0
        self._written = 0.0

    def line(self, text: str) -> None:
        """Add a line of text."""
        self._lines.append(text)
        self._write()

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Callable[[float, str], None]]:
        """The current task; yields a function to call with (steps done, note)."""
        task: dict[str, Any] = {"title": title, "done": 0, "total": total, "note": ""}
        outer, self._task = self._task, task
        self._write()

        def advance(done: float, note: str) -> None:
            task["done"], task["note"] = done, note
            if done == total or time.monotonic() - self._written >= _EVERY:
                self._write()

        try:
            yield advance
            self._finished += 1
        finally:
            self._task = outer
            self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        state = {"task": self._task, "finished": self._finished, "lines": list(self._lines)}
        part = self._path.with_name(f".{self._path.name}.part")
        with suppress(OSError):
            part.write_text(json.dumps(state), encoding="utf-8")
            os.replace(part, self._path)


def open_progress_file() -> ProgressFile | None:
    """The file that ``$WORKBENCH_PROGRESS`` names; None without it."""
    name = os.environ.get(ENVIRONMENT)
    return ProgressFile(Path(name)) if name else None


@contextmanager
def record_steps(
    file: ProgressFile | None, title: str, total: int, show: Callable[[float, str], None]
) -> Iterator[Callable[[float, str], None]]:
    """Yield a function that calls ``show`` and also writes to the file, if there is one."""
    if file is None:
        yield show
        return
    with file.task(title, total) as record:

        def advance(done: float, note: str) -> None:
            show(done, note)
            record(done, note)

        yield advance
