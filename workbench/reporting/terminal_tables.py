"""Tables that fit a terminal: numbers are neither cut nor wrapped.

A table that is too wide is changed in this order until it fits: text in brackets moves to a
second line; the least important columns are left out, in the order of ``_SPARE``; the rows are
stacked, with one line for each value. A file or a pipe gets the whole table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from workbench.errors import printable

if TYPE_CHECKING:
    from rich.table import Table

Rows = Sequence[Sequence[str]]

_TEXT_COLUMNS = (
    "protocol", "layer", "domain", "model", "method", "training", "network", "runtime",
    "source", "front",
)  # fmt: skip
#: Columns that may be left out, the least important first.
_SPARE = (
    "train", "batch of 64", "training", "epochs", "seeds", "latency", "FLOPs", "footprint",
    "parameters", "95 % of 64 within", "95 % within", "size",
    "inactive", "divergence", "test images", "train images",
)  # fmt: skip


@dataclass(frozen=True)
class FittingTable:
    """A table that is not wider than the terminal.

    Attributes:
        body: a table, or lines with one value each.
        left_out: columns that are not shown.
        width: characters in the longest line of a table; None for lines.
    """

    body: Table | tuple[str, ...]
    left_out: tuple[str, ...] = ()
    width: int | None = None


def fitting_table(
    columns: Sequence[str], rows: Rows, width: int | None, keep: Sequence[str] = ()
) -> FittingTable:
    """Lay out a table for a terminal; escape everything in the cells that would steer it.

    Args:
        rows: one cell for each column.
        width: characters in a line of the terminal; None if there is no limit.
        keep: columns that are not left out.
    """
    rows = [[printable(cell, longest=None) for cell in row] for row in rows]
    whole = _rich_table(columns, rows)
    if width is None or _width(whole) <= width:
        return FittingTable(whole, width=_width(whole))
    spare = [name for name in _SPARE if name in columns[1:] and name not in keep]
    for number in range(len(spare) + 1):
        left_out = spare[:number]
        shown = [index for index, name in enumerate(columns) if name not in left_out]
        table = _rich_table(
            [columns[index] for index in shown],
            [[_folded(row[index]) for index in shown] for row in rows],
        )
        if _width(table) <= width:
            names = tuple(name for name in columns if name in left_out)
            return FittingTable(table, names, _width(table))
    return FittingTable(tuple(_stacked(columns, rows, width)))


def _stacked(columns: Sequence[str], rows: Rows, width: int) -> list[str]:
    """One line for each value, or several if it does not fit beside its name."""
    from rich.cells import cell_len  # some characters are two columns wide

    lines: list[str] = []
    for row in rows:
        lines += [""] if lines else []  # between two rows
        for name, cell in zip(columns, row, strict=True):
            if len(name) + 2 + cell_len(cell) <= width:
                lines.append(f"{name}: {cell}")
            else:
                parts = [cell] if 2 + cell_len(cell) <= width else _folded(cell).split("\n")
                lines += [f"{name}:", *(f"  {part}" for part in parts)]
    return lines


def _folded(text: str) -> str:
    """The text with its brackets on a second line."""
    return text.replace(" (", "\n(", 1)


def _rich_table(columns: Sequence[str], rows: Rows) -> Table:
    """Right-align numbers, and show names without markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        justify: Literal["left", "right"] = "left" if column in _TEXT_COLUMNS else "right"
        folded = any("\n" in row[index] for row in rows)
        table.add_column(_folded(column) if folded else column, justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _width(table: Table) -> int:
    """Characters in a line of the table if nothing is cut or wrapped."""
    from rich.console import Console

    return Console(width=1 << 16).measure(table).maximum
