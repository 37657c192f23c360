"""Run cells on an open engine: one display for all of them, and their failures collected.

The engine runs in a thread, because a cell can only start while its loop looks. So the caller may
do something else between two reports, and no worker waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Event, Thread

from workbench.errors import CellsError
from workbench.experiments.engines.cells import Cell
from workbench.experiments.engines.engine_table import OpenEngine
from workbench.experiments.engines.engine_types import CellResult, Reports
from workbench.training.progress import Advance, Display


@dataclass
class CellLog:
    """What became of the cells of one call.

    Attributes:
        finished: identities of the cells that ended well; a cell's key is one of them.
        failures: why cells failed, by their identities.
        titles: names of the failed cells, by their identities.
    """

    finished: set[str] = field(default_factory=set)
    failures: dict[str, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)

    def fail(self, cell: Cell, reason: str) -> None:
        """Note a failure."""
        self.failures[cell.identity] = reason
        self.titles[cell.identity] = cell.title

    def lines(self) -> list[str]:
        """One line for each failure, after one with their number; empty without failures."""
        if not self.failures:
            return []
        total = len(self.failures) + len(self.finished)
        first = (
            f"{len(self.failures)} of {total} cells failed; the others are recorded: run the same "
            "command again to try these again"
        )
        return [first, *(f"{self.titles[name]}: {why}" for name, why in self.failures.items())]

    def check(self) -> None:
        """Raise ``CellsError`` if cells failed."""
        if self.failures:
            raise CellsError(*self.lines())


def run_wave(
    cells: Sequence[Cell], engine: OpenEngine, log: CellLog, display: Display, advance: Advance
) -> None:
    """Run cells that do not depend on each other to their end; arguments as below."""
    with running_wave(cells, engine, log, display, advance) as reports:
        for _ in reports:
            pass


@contextmanager
def running_wave(
    cells: Sequence[Cell], engine: OpenEngine, log: CellLog, display: Display, advance: Advance
) -> Iterator[Iterator[Cell | None]]:
    """Run cells that do not depend on each other, and note how they ended.

    The iterator has each cell when it has ended, and None at least every second. Cells that still
    run at the end of the block are ended.

    Args:
        advance: shows the number of ended cells and a text.
    """
    found: SimpleQueue[CellResult | str | Exception | None] = SimpleQueue()
    stop = Event()
    arguments = (engine.run(cells), found, stop)
    thread = Thread(target=_follow, args=arguments, name="cells", daemon=True)
    thread.start()
    try:
        yield _noted(found, log, display, advance)
    finally:
        stop.set()
        thread.join()


def _follow(
    reports: Reports, found: SimpleQueue[CellResult | str | Exception | None], stop: Event
) -> None:
    """In the thread: put all reports into a queue, at last None, until ``stop`` is set."""
    try:
        with closing(reports):
            for report in reports:
                found.put(report)
                if stop.is_set():
                    break
    except Exception as error:  # noqa: BLE001 - the main thread raises it
        found.put(error)
    finally:
        found.put(None)


def _noted(
    found: SimpleQueue[CellResult | str | Exception | None],
    log: CellLog,
    display: Display,
    advance: Advance,
) -> Iterator[Cell | None]:
    ended, note = len(log.finished) + len(log.failures), ""
    while (report := found.get()) is not None:
        if isinstance(report, Exception):
            raise report
        if isinstance(report, CellResult):
            ended += 1
            _note(report, log, display)
        else:
            note = report
        advance(ended, note)
        yield report.cell if isinstance(report, CellResult) else None


def _note(report: CellResult, log: CellLog, display: Display) -> None:
    if report.ended.result is None:
        log.fail(report.cell, report.ended.reason)
        display.say(f"failed: {report.cell.title}: {report.ended.reason}")
    else:
        log.finished.add(report.cell.identity)
