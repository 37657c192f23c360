"""``workbench clean``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from workbench.cli.console import print_line
from workbench.cli.options import takes
from workbench.errors import SettingsError, counted


@takes("tracking_uri", "output")
def clean(
    yes: Annotated[bool, typer.Option("--yes", help="Remove without confirmation.")] = False,
    **chosen: Any,
) -> None:
    """List files that no run refers to, and remove them after confirmation.

    \b
    Example:
      workbench clean --yes
    """
    from workbench.store.leftovers import find_leftovers, remove
    from workbench.store.unfinished_work import open_work

    found = find_leftovers(
        chosen["tracking_uri"], open_work(chosen["output"], chosen["tracking_uri"])
    )
    for leftover in found:
        print_line(f"{leftover.size / 1e6:9.1f} MB  {leftover.path}  ({leftover.reason})")
    if not found:
        print_line("nothing to remove: every file belongs to a run")
        return
    total = sum(leftover.size for leftover in found) / 1e6
    try:
        agreed = yes or typer.confirm(f"remove {counted(len(found), 'item')}, {total:.1f} MB?")
    except typer.Abort:
        raise SettingsError(
            "no answer, nothing was removed; use --yes to skip the question"
        ) from None
    if agreed:
        remove(found, chosen["tracking_uri"])
        print_line(f"removed {counted(len(found), 'item')}, {total:.1f} MB")
    else:
        print_line("nothing was removed")
