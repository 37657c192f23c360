"""Run cells on an open engine: one display for all of them, and their failures collected."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

from workbench.errors import CellsError
from workbench.experiments.engines.cells import Cell
from workbench.experiments.engines.engine_table import OpenEngine
from workbench.experiments.engines.engine_types import CellResult
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
    """Run cells that do not depend on each other, and note how they ended.

    Args:
        advance: shows the number of ended cells and a text.
    """
    ended, note = len(log.finished) + len(log.failures), ""
    with closing(engine.run(cells)) as reports:
        for report in reports:
            if isinstance(report, CellResult):
                ended += 1
                _note(report, log, display)
            else:
                note = report
            advance(ended, note)


def _note(report: CellResult, log: CellLog, display: Display) -> None:
    if report.ended.result is None:
        log.fail(report.cell, report.ended.reason)
        display.say(f"failed: {report.cell.title}: {report.ended.reason}")
    else:
        log.finished.add(report.cell.identity)
