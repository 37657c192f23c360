"""Progress reports: bars on a terminal, plain lines elsewhere, always on stderr.

If no bar is shown and no line is printed for about ten seconds, and then about every thirty, a
line reports the current task and how long it has been running.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from workbench.errors import printable
from workbench.training.progress_file import open_progress_file, record_steps

_PLAIN_EVERY = 10.0  # seconds between two plain lines of one task
_FIRST_SIGN, _LATER_SIGNS = 9.0, 25.0  # seconds without output before a "still working" line
_LOOK_EVERY = 0.5

#: Called with the number of steps done (may be a fraction) and a note.
Advance = Callable[[float, str], None]


@dataclass
class Display:
    """Reports what the program is doing.

    Attributes:
        quiet: print nothing (the default in Python, where the caller controls the output).
    """

    quiet: bool = True
    _console: Any = field(default=None, repr=False)
    _signs: Any = field(default=None, repr=False)
    _file: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.quiet:
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False, soft_wrap=True)
            self._signs = _SignsOfLife(self._console)
            self._file = open_progress_file()

    def say(self, text: str) -> None:
        """Print one line, with characters that control a terminal escaped."""
        if self._console:
            with suppress(OSError):  # a full stderr must not stop the work
                self._console.print(printable(text.rstrip()), markup=False, emoji=False)
            self._signs.seen()
        if self._file:
            self._file.line(printable(text.rstrip()))

    @contextmanager
    def track(self, title: str, total: int) -> Iterator[Advance]:
        """Show a task of ``total`` steps; yield a function to call with (done, note)."""
        title = printable(title)
        if not self._console:
            yield lambda done, note: None
            return
        with (
            self._shown(title, total) as show,
            record_steps(self._file, title, total, show) as advance,
        ):
            yield advance

    @contextmanager
    def _shown(self, title: str, total: int) -> Iterator[Advance]:
        with self._signs.at(title, moving=self._console.is_terminal):
            yield from (self._bar if self._console.is_terminal else self._lines)(title, total)

    def _bar(self, title: str, total: int) -> Iterator[Advance]:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=self._console) as bars:
            task = bars.add_task(title, total=total, note="")
            yield lambda done, note: bars.update(task, completed=done, note=note)

    def _lines(self, title: str, total: int) -> Iterator[Advance]:
        said = time.monotonic()
        first: tuple[float, float] | None = None

        def advance(done: float, note: str) -> None:
            nonlocal said, first
            now = time.monotonic()
            # A resumed task starts in its middle: only the new steps measure the speed.
            first = first or (now, done)
            if done == total or now - said >= _PLAIN_EVERY:
                said = now
                self.say(f"{title}: {int(done)}/{total} {note}{_left(first, now, done, total)}")

        yield advance


def _left(first: tuple[float, float], now: float, done: float, total: float) -> str:
    """Remaining time, from the speed since the first report; empty if it is unknown."""
    since, before = first
    if not before < done < total:
        return ""
    return f", about {duration((now - since) / (done - before) * (total - done))} left"


def duration(seconds: float) -> str:
    """Format seconds as hours and minutes, minutes and seconds, or seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class _SignsOfLife:
    """Prints a line when nothing else was printed for a while.

    Its thread has only a weak reference to this object, and ends with it.
    """

    def __init__(self, console: Any) -> None:
        self._console = console
        self._title, self._moving = "", False
        self._since = self._last = time.monotonic()
        self._patience = _FIRST_SIGN
        # A daemon thread does not keep the program from exiting.
        threading.Thread(target=_watch, args=(weakref.ref(self),), daemon=True).start()

    def seen(self) -> None:
        """Note that something was printed."""
        self._last, self._patience = time.monotonic(), _LATER_SIGNS

    @contextmanager
    def at(self, title: str, *, moving: bool) -> Iterator[None]:
        """Set the current task within the context; ``moving`` if a bar shows its progress."""
        before = self._title, self._moving, self._since
        self._title, self._moving, self._since = title, moving, time.monotonic()
        try:
            yield
        finally:
            self._title, self._moving, self._since = before

    def look(self) -> None:
        """Print the line if it is due."""
        now = time.monotonic()
        if not self._moving and now - self._last >= self._patience:
            task = f"{self._title}: " if self._title else ""
            so_far = duration(now - self._since)
            self._console.print(f"{task}still working, {so_far} so far", markup=False)
            self.seen()


def _watch(known: weakref.ref[_SignsOfLife]) -> None:
    while (signs := known()) is not None:
        signs.look()
        del signs
        time.sleep(_LOOK_EVERY)
