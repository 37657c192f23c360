"""Types that the engines share."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.experiments.engines.cell_processes import Ended
from workbench.experiments.engines.cells import Cell
from workbench.experiments.engines.engine_settings import EngineSettings


@dataclass(frozen=True)
class Engine:
    """An engine's options, and what it needs of the call.

    Attributes:
        device: on which the cells compute, "cpu" or "cuda".
        tracking_uri: the store; None is the default one.
        output: folder of unfinished work, shared by all machines.
    """

    settings: EngineSettings
    device: str
    tracking_uri: str | None
    output: Path


@dataclass(frozen=True)
class CellResult:
    """A cell that has ended."""

    cell: Cell
    ended: Ended


#: Results as cells end, and at least every second a text about what is running.
Reports = Generator[CellResult | str, None, None]
#: Runs cells, each in a process of its own. It is called in the main thread; its iterator may run
#: in another one. Closing the iterator ends all cells that are running.
RunCells = Callable[[Sequence[Cell]], Reports]
