"""``workbench ui``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from workbench.cli.console import print_line
from workbench.cli.options import takes


@takes("tracking_uri")
def ui(
    port: Annotated[
        int | None, typer.Option(help="Port of the server. (default: a free one)")
    ] = None,
    **chosen: Any,
) -> None:
    """Start the MLflow UI on 127.0.0.1 and print its address; Ctrl-C stops it.

    \b
    Example:
      workbench ui --port 5000
    """
    from workbench.store.mlflow_ui import serve

    serve(
        chosen["tracking_uri"],
        port,
        lambda address: print_line(f"MLflow UI: {address} (Ctrl-C stops it)"),
    )
