"""Progress reports on stderr: one live display on a terminal, plain lines elsewhere.

On a terminal, a bar shows the finished share of the whole command and the time left, with the
current task beneath it. Elsewhere, a task prints a line about every ten seconds and at its end. If
nothing is printed for about ten seconds, and then about every thirty, a line reports the current
task and how long it has been running.

A caller that knows all of its steps declares them with ``Display.plan``; ``time_left`` describes
the estimate. A task outside of a plan counts as the whole. Programs can read the same numbers as
JSON lines: see ``progress_records``.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import printable
from workbench.training.live_display import LiveDisplay, can_move
from workbench.training.overall_progress import Overall, Task
from workbench.training.progress_records import ProgressRecords, records_of
from workbench.training.time_left import TRAINING, PlannedStep, duration, left_words

_PLAIN_EVERY = 10.0  # seconds between two plain lines of one task
_FIRST_SIGN, _LATER_SIGNS = 9.0, 25.0  # seconds without output before a "still working" line
_LOOK_EVERY = 0.5
_WARNING = "warning: "

#: Called with the number of steps done (may be a fraction) and a note.
Advance = Callable[[float, str], None]


@dataclass
class Display:
    """Reports what the program is doing.

    Attributes:
        quiet: print no progress (the default in Python, where the caller controls the output).
        warnings: print lines that begin with "warning: " even if ``quiet``.
        records: file for progress as JSON lines; None means that of ``WORKBENCH_PROGRESS_FILE``,
            if it is set.
    """

    quiet: bool = True
    warnings: bool = False
    records: Path | None = None
    _console: Any = field(default=None, repr=False)
    _signs: Any = field(default=None, repr=False)
    _records: ProgressRecords | None = field(default=None, repr=False)
    _overall: Overall = field(default_factory=Overall, repr=False)
    _live: LiveDisplay | None = field(default=None, repr=False)
    _aside: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        self._records = records_of(self.records)
        if not self.quiet or self.warnings:
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        if not self.quiet:
            self._signs = _SignsOfLife(self._console)

    @property
    def is_watched(self) -> bool:
        """Whether somebody sees the progress, so that a plan is worth its look-ups."""
        return not self._aside and (not self.quiet or self._records is not None)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Show only lines of what is done within the context: a task that goes on has the rest."""
        self._aside = True
        try:
            yield
        finally:
            self._aside = False

    def say(self, text: str) -> None:
        """Print one line, with characters that control a terminal escaped."""
        text = text.rstrip()
        if self._console and (not self.quiet or text.startswith(_WARNING)):
            with suppress(OSError):  # a full stderr must not stop the work
                self._console.print(printable(text), markup=False, emoji=False)
        if self._signs:
            self._signs.seen()
        self._record(text, always=True)

    @contextmanager
    def plan(self, steps: Sequence[PlannedStep]) -> Iterator[Plan]:
        """Declare all steps that follow; yield the plan, whose steps the caller then enters.

        Inside a step of another plan, these steps refine that one.
        """
        if not self.is_watched:
            yield Plan(None)
            return
        outermost = not self._overall.is_planned
        self._overall.push(steps)
        with self._shown() if outermost else nullcontext():
            self._record("", always=True)
            try:
                yield Plan(self)
            finally:
                self._overall.pop()
        if outermost and self._records:
            self._records.write(1.0, 0.0, "", "", always=True)

    @contextmanager
    def track(
        self,
        title: str,
        total: int,
        work: Callable[[], float] | None = None,
        kind: str = TRAINING,
    ) -> Iterator[Advance]:
        """Show a task of ``total`` units; yield a function to call with (done, note).

        Args:
            work: returns the work of the whole task, in FLOPs; None for a task that is no part of
                the plan.
            kind: of its work, as in ``time_left``.
        """
        if not self.is_watched:
            yield lambda done, note: None
            return
        if not self._overall.is_planned:
            alone = PlannedStep("", {kind: 1.0})
            with self.plan([alone]) as plan, plan.step():
                yield from self._tracked(printable(title), total, 1.0, kind, "")
            return
        size = work() if work else 0.0
        yield from self._tracked(printable(title), total, size, kind, "all steps: ")

    def _tracked(
        self, title: str, total: int, work: float, kind: str, prefix: str
    ) -> Iterator[Advance]:
        task = self._overall.begin_task(title, total, work, kind)
        failed = True
        with self._signs.at(title, moving=bool(self._live)) if self._signs else nullcontext():
            try:
                yield self._advance(task, prefix)
                failed = False
            finally:
                self._overall.end_task(task, failed=failed)
                self._record("", always=True)

    def _advance(self, task: Task, prefix: str) -> Advance:
        """The function that reports the state of a task."""
        said = time.monotonic()
        self._record("", always=True)

        def advance(done: float, note: str) -> None:
            nonlocal said
            self._overall.report(task, done)
            self._record(note, always=False)
            finished, now = done == task.total, time.monotonic()
            if self._live:
                self._live.note = "" if finished else f"{int(done)}/{task.total:g} {note}"
            elif now - said < _PLAIN_EVERY and not finished:
                return
            if self.quiet or (self._live and not finished):
                return
            said = now
            left = self._left_words(prefix) if prefix or not finished else ""
            self._line(f"{task.title}: {int(done)}/{task.total:g} {note}{left}")

        return advance

    def _left_words(self, prefix: str) -> str:
        """The state of the whole, for the end of a plain line; empty if it is not known."""
        if self._live:  # which shows it itself
            return ""
        left = left_words(self._overall.seconds_left)
        about = f", {left}" if left else ""
        return f"; {prefix}{int(100 * self._overall.done)} %{about}" if prefix else about

    def _line(self, text: str) -> None:
        with suppress(OSError):
            self._console.print(text, markup=False, emoji=False)
        self._signs.seen()

    def _record(self, message: str, *, always: bool) -> None:
        if self._records:
            overall = self._overall
            self._records.write(
                overall.done,
                overall.seconds_left,
                printable(overall.title),
                printable(message),
                always=always,
            )

    @contextmanager
    def _shown(self) -> Iterator[None]:
        """Show the live display within the context, if there is a terminal that can show it."""
        if self.quiet or not can_move(self._console):
            yield
            return
        with LiveDisplay(self._console, self._overall) as self._live, self._signs.moving():
            try:
                yield
            finally:
                self._live = None


@dataclass(frozen=True)
class Plan:
    """The steps that a caller declared; without a display, its methods do nothing."""

    _display: Display | None

    @contextmanager
    def step(self) -> Iterator[None]:
        """Execute the next step of the plan within the context."""
        if self._display is None:
            yield
            return
        overall = self._display._overall
        overall.begin_step()
        self._display._record("", always=True)
        yield
        overall.end_step()
        self._display._record("", always=True)

    def limit(self, seconds: float) -> None:
        """Note that the plan ends in so many seconds at the latest; infinity is no limit."""
        if self._display is not None:
            self._display._overall.limit(seconds)

    def revise(self, steps: Callable[[], Sequence[PlannedStep]]) -> None:
        """Replace the steps when more is known; the finished ones must still be the first."""
        if self._display is not None:
            self._display._overall.revise(steps())


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

    @contextmanager
    def moving(self) -> Iterator[None]:
        """A display moves within the context."""
        with self.at("", moving=True):
            yield

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
