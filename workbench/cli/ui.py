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
    """Start the MLflow UI on 127.0.0.1 and print its addresses; Ctrl-C stops it.

    For each experiment it prints the pages of the adaptations with their verdicts, of all networks
    with the most accurate ones first, and of their charts.

    \b
    Example:
      workbench ui --port 5000
    """
    from workbench.store.mlflow_ui import Address, serve

    def print_addresses(address: Address) -> None:
        print_line(f"MLflow UI: {address.home} (Ctrl-C stops it)")
        for name, pages in address.views.items():
            for title, page in pages.items():
                print_line(f"{name}, {title}: {page}")

    serve(chosen["tracking_uri"], port, print_addresses)
