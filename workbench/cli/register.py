"""``workbench register``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from workbench.cli.console import print_line
from workbench.cli.options import takes
from workbench.cli.run_argument import Run
from workbench.store.model_registry import DEFAULT_ALIAS


@takes("tracking_uri")
def register(
    run: Run,
    name: Annotated[str, typer.Option(help="Name in MLflow's Model Registry.")],
    alias: Annotated[
        str, typer.Option(help="Name of this version, by which a server finds it.")
    ] = DEFAULT_ALIAS,
    **chosen: Any,
) -> None:
    """Put a network into MLflow's Model Registry, and print the command that serves it.

    \b
    Example:
      workbench register RUN --name pets --alias champion
    """
    from workbench.deployment.register import register as run_register

    done = run_register(run, name=name, alias=alias, tracking_uri=chosen["tracking_uri"])
    version = done.version
    state = "registered" if version.new else "was registered before"
    print_line(f"{version.name}: version {version.number}, alias {version.alias} ({state})")
    print_line(f"run       {version.run_id}")
    print_line(f"address   {version.address}")
    print_line(f"serve     {done.serve}")
