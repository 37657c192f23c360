"""Progress as JSON lines, for programs that watch a command.

``Display(records=PATH)``, or the environment variable ``WORKBENCH_PROGRESS_FILE``, names the file;
``/dev/fd/3`` is a pipe. Each update appends one line with four fields:

    {"done": 0.42, "seconds_left": 81.5, "step": "pfa-fine · S2 · seed 0", "message": "epoch 3"}

``done`` is the finished share of the whole command, in [0, 1], and never decreases. When the
command has done its work, the last line has ``done`` 1.0. ``seconds_left`` is null while it is not
known. ``step`` is the current task, or empty. ``message`` is a line that people see, the state of
the task, or empty. Lines that differ only in their numbers come at most five times a second.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from workbench.errors import SettingsError

VARIABLE = "WORKBENCH_PROGRESS_FILE"
_LEAST_SECONDS = 0.2  # between two lines that differ only in their numbers


class ProgressRecords:
    """Appends lines to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._works = False
        self._next = 0.0

    def write(
        self, done: float, seconds_left: float | None, step: str, message: str, *, always: bool
    ) -> None:
        """Append a line.

        Args:
            always: write it even if the line before was written a moment ago.

        Raises:
            SettingsError: when the first line cannot be written. Later failures (a full disk, a
                reader that has gone) do not stop the work.
        """
        now = time.monotonic()
        if now < self._next and not always:
            return
        self._next = now + _LEAST_SECONDS
        left = None if seconds_left is None else round(seconds_left, 1)
        fields = {"done": round(done, 4), "seconds_left": left, "step": step, "message": message}
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(fields, ensure_ascii=False) + "\n")
            self._works = True
        except OSError as error:
            if not self._works:
                raise SettingsError(
                    f"${VARIABLE} {self._path}: cannot be written ({error.strerror}); name a file "
                    "in a folder that exists"
                ) from None


def records_of(path: Path | str | None) -> ProgressRecords | None:
    """The records in a file, or in that of the environment variable; None without either."""
    name = path or os.environ.get(VARIABLE)
    return ProgressRecords(Path(name)) if name else None
