"""Printing results on stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_FILE_WIDTH = 200  # a pipe or a file has no width: lines are not wrapped or cut there


def console() -> Console:
    """The console for results: as wide as the terminal, or wide enough for any table."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _FILE_WIDTH
    return Console(highlight=False, soft_wrap=True, width=width)
