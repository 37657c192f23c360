"""Printing results on stdout: the one place where text reaches a terminal.

Names of classes, files, layers and domains may come from untrusted files and folders. This module
escapes all characters that control a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.errors import printable

if TYPE_CHECKING:
    from workbench.training.progress import Display


def print_line(text: str = "") -> None:
    """Print one line."""
    print(printable(text, longest=None), flush=True)


def open_display(quiet: bool) -> Display:
    """The display of a command; with ``--quiet``, it prints only warnings."""
    from workbench.training.progress import Display

    return Display(quiet=quiet, warnings=True)


def terminal_width() -> int | None:
    """Characters in a line of the terminal; None if stdout is no terminal."""
    from rich.console import Console

    return Console().width if sys.stdout.isatty() else None


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    elsewhere: str = "a file",
    keep: Sequence[str] = (),
) -> None:
    """Print a table that fits the terminal, or the whole table if stdout is no terminal.

    Args:
        elsewhere: where to find columns for which a narrow terminal has no room.
        keep: columns that are shown on every terminal.
    """
    from rich.console import Console

    from workbench.reporting.terminal_tables import fitting_table

    table = fitting_table(columns, rows, terminal_width(), keep)
    if title:
        print_line(title)
    if isinstance(table.body, tuple):
        for line in table.body:
            print_line(line)
    else:
        Console(highlight=False, width=table.width).print(table.body)
    if table.left_out:
        names = ", ".join(table.left_out)
        print_line(f"Not shown: {names} (a wider terminal or {elsewhere} has them).")
