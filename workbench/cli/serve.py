"""``workbench serve``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import print_line
from workbench.cli.options import WHERE, takes
from workbench.cli.standard_streams import print_error
from workbench.experiments.service.settings import TOKEN_ENVIRONMENT, ServiceSettings

_SERVER, _JOBS = "Server", "Jobs and uploads"
_Service = ServiceSettings


@takes(*WHERE)
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on.", rich_help_panel=_SERVER)
    ] = _Service.host,
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 is a free one.", rich_help_panel=_SERVER)
    ] = _Service.port,
    token: Annotated[
        str | None,
        typer.Option(
            help=f"Token that clients must send. Required unless only this machine can reach the "
            f"server. (default: ${TOKEN_ENVIRONMENT}, which other users cannot see)",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Further host name under which clients reach the server, such as that of a "
            "reverse proxy; can be given several times.",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    folder: Annotated[
        Path, typer.Option(help="Folder of jobs and uploads.", rich_help_panel=_JOBS)
    ] = _Service.folder,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Folder whose weight files and image folders clients may name. (default: "
            "uploads only)",
            rich_help_panel=_JOBS,
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Jobs that run at the same time.", rich_help_panel=_JOBS)
    ] = _Service.workers,
    queue: Annotated[
        int, typer.Option(help="Jobs that may wait.", rich_help_panel=_JOBS)
    ] = _Service.queue,
    upload_mb: Annotated[
        int, typer.Option(help="Largest upload in MB.", rich_help_panel=_JOBS)
    ] = _Service.upload_mb,
    storage_mb: Annotated[
        int, typer.Option(help="Largest size of all uploads in MB.", rich_help_panel=_JOBS)
    ] = _Service.storage_mb,
    **chosen: Any,
) -> None:
    """Start a web server that adapts networks: upload, watch, download; Ctrl-C stops it.

    A job does what the command adapt does, and uses the same store. After a restart, jobs
    continue. The page is at the printed address, the description of the interface at
    /docs. docs/service.md describes the security measures.

    \b
    Examples:
      workbench serve
      workbench serve --port 8100 --root models --workers 2
      workbench serve --host 0.0.0.0 --upload-mb 200
    """
    from workbench.experiments.service.server import serve as run

    settings = ServiceSettings(
        host=host,
        port=port,
        token=os.environ.get(TOKEN_ENVIRONMENT, "") if token is None else token,
        allow_host=tuple(name.lower() for name in allow_host or ()),
        folder=folder,
        root=root,
        workers=workers,
        queue=queue,
        upload_mb=upload_mb,
        storage_mb=storage_mb,
        **chosen,
    )
    run(
        settings,
        lambda address: print_line(f"workbench service: {address} (Ctrl-C stops it)"),
        lambda line: print_error(f"workbench: {line}"),
    )
