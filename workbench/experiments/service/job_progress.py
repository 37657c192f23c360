"""The progress of a running job, read from the files that its worker appends to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.experiments.service.job_records import LOG_FILE, PROGRESS_FILE

_LINES = 30  # last lines of the log that are shown
_TAIL = 2**14  # bytes at the end of a file that are read


def job_progress(folder: Path, shown: Callable[[str], str]) -> dict[str, Any]:
    """The last record of ``training.progress_records``, and the last lines of the log.

    Args:
        folder: the job's folder.
        shown: removes what a client must not see from a text.

    Returns:
        ``done`` in [0, 1], ``seconds_left`` (None if it is not known), ``step`` (the current task),
        ``message`` (its state) and ``lines``.
    """
    found = {"done": 0.0, "seconds_left": None, "step": "", "message": ""}
    for line in reversed(_last_lines(folder / PROGRESS_FILE)):
        try:
            record = json.loads(line)
        except ValueError:  # it is being written
            continue
        found |= {name: record[name] for name in found if name in record}
        break
    lines = _last_lines(folder / LOG_FILE)[-_LINES:]
    texts = {name: shown(str(found[name])) for name in ("step", "message")}
    return {**found, **texts, "lines": [shown(line) for line in lines]}


def _last_lines(path: Path) -> list[str]:
    """The whole lines at the end of a file; none if it does not exist yet."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return lines[1:] if size > _TAIL else lines
