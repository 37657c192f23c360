"""Printing results on stdout: the one place where text reaches a terminal.

Names of classes, files, layers and domains may come from anybody's files and folders. Here
everything that would steer a terminal is escaped, whatever its origin.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from workbench.errors import printable

_FILE_WIDTH = 200  # a pipe or a file has no width: lines are not wrapped or cut there


def print_line(text: str = "") -> None:
    """Print one line."""
    print(printable(text, longest=None), flush=True)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, as wide as the terminal, or wide enough for any in a file."""
    from rich.console import Console

    from workbench.reporting.tables import rich_table

    width = None if sys.stdout.isatty() else _FILE_WIDTH
    console = Console(highlight=False, soft_wrap=True, width=width)
    console.print(rich_table(title, columns, rows))
