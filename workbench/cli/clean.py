"""``workbench clean``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from workbench.cli.console import tell
from workbench.cli.options import takes
from workbench.errors import SettingsError


@takes("tracking_uri", "output")
def clean(
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    **chosen: Any,
) -> None:
    """List what no run refers to any more, and remove it after asking.

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
        tell(f"{leftover.size / 1e6:9.1f} MB  {leftover.path}  ({leftover.reason})")
    if not found:
        tell("nothing to remove: every file belongs to a run")
        return
    total = sum(leftover.size for leftover in found) / 1e6
    try:
        agreed = yes or typer.confirm(f"remove {len(found)} item(s), {total:.1f} MB?")
    except typer.Abort:
        raise SettingsError("no answer, nothing was removed; use --yes to remove unasked") from None
    if agreed:
        remove(found)
        tell(f"removed {len(found)} item(s), {total:.1f} MB")
    else:
        tell("nothing was removed")
