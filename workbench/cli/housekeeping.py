"""``workbench ui`` and ``workbench clean``."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench.cli import options as opt
from workbench.errors import SettingsError


def ui(
    tracking_uri: opt.TrackingUri = None,
    port: Annotated[int | None, typer.Option(help="(default: a free one)")] = None,
) -> None:
    """Start the MLflow UI on 127.0.0.1 and print its address; Ctrl-C ends it.

    \b
    Example:
      workbench ui --port 5000
    """
    from workbench.ui import serve

    serve(tracking_uri, port, lambda address: typer.echo(f"MLflow UI: {address} (Ctrl-C ends it)"))


def clean(
    tracking_uri: opt.TrackingUri = None,
    output: opt.Output = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
) -> None:
    """List what no run refers to any more, and remove it after asking.

    \b
    Example:
      workbench clean --yes
    """
    from workbench.housekeeping import find_leftovers, remove
    from workbench.pipeline import open_work

    found = find_leftovers(tracking_uri, open_work(output, tracking_uri))
    for leftover in found:
        typer.echo(f"{leftover.size / 1e6:9.1f} MB  {leftover.path}  ({leftover.reason})")
    if not found:
        typer.echo("nothing to remove: every file belongs to a run")
        return
    total = sum(leftover.size for leftover in found) / 1e6
    try:
        agreed = yes or typer.confirm(f"remove {len(found)} item(s), {total:.1f} MB?")
    except typer.Abort:
        raise SettingsError("no answer, nothing was removed; use --yes to remove unasked") from None
    if agreed:
        remove(found)
        typer.echo(f"removed {len(found)} item(s), {total:.1f} MB")
    else:
        typer.echo("nothing was removed")
