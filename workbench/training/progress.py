"""Progress for people: bars on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from workbench.errors import printable

_PLAIN_EVERY = 10.0  # seconds between two plain lines of one task

Advance = Callable[[int, str], None]


@dataclass
class Display:
    """Says what is going on.

    Attributes:
        quiet: say nothing at all (the default in Python, where the caller owns the screen).
    """

    quiet: bool = True
    _console: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.quiet:
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """One line; what would steer the terminal is escaped."""
        if self._console:
            self._console.print(printable(text), markup=False, emoji=False)

    @contextmanager
    def track(self, title: str, total: int) -> Iterator[Advance]:
        """Show a task of ``total`` steps; the value given is called with (done, note)."""
        title = printable(title)
        if not self._console:
            yield lambda done, note: None
        elif self._console.is_terminal:
            yield from self._bar(title, total)
        else:
            yield from self._lines(title, total)

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
        start = said = time.monotonic()
        first: int | None = None

        def advance(done: int, note: str) -> None:
            nonlocal said, first
            now = time.monotonic()
            # A resumed task starts somewhere in its middle: only what is new tells the speed.
            first = done - 1 if first is None else first
            if done == total or now - said >= _PLAIN_EVERY:
                said = now
                left = (now - start) / max(done - first, 1) * (total - done)
                time_left = f", about {_duration(left)} left" if done < total else ""
                self.say(f"{title}: {done}/{total} {note}{time_left}".rstrip())

        yield advance


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min"
        if hours
        else f"{minutes} min {rest} s"
        if minutes
        else f"{rest} s"
    )
