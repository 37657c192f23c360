"""Start the service on an address of this machine (``workbench serve``)."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from workbench.data.user_paths import user_path
from workbench.errors import SettingsError
from workbench.experiments.service.settings import ServiceSettings
from workbench.store.tracking_uris import check_uri, database_path, store_uri

_GRACE_SECONDS = 2  # for answers that are being sent when the server stops
_PATHS = ("folder", "root", "data_dir", "domains", "output")


def serve(
    settings: ServiceSettings, on_ready: Callable[[str], None], say: Callable[[str], None]
) -> None:
    """Run the service until it is interrupted.

    Args:
        on_ready: called with the address when the service answers.
        say: called with warnings.

    Raises:
        SettingsError: when a value is not valid, the port is taken, or another server uses the
            same folder.
    """
    problems = settings.problems()
    if problems:
        raise SettingsError(*problems)
    settings = _absolute(settings)
    with _listen(settings) as listener, _own_folder(settings.folder):
        import torch
        import uvicorn

        from workbench.experiments.service.application import create_app
        from workbench.experiments.service.service import Service

        torch.set_num_threads(1)  # the processor is for the workers
        address = _address(settings.host, listener.getsockname()[1])
        app = create_app(Service.of(settings), say, lambda: on_ready(address))
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        uvicorn.Server(config).run(sockets=[listener])


def _absolute(settings: ServiceSettings) -> ServiceSettings:
    """The same settings for processes that run in any folder."""
    paths: dict[str, Any] = {
        name: Path(os.path.abspath(user_path(path)))
        for name in _PATHS
        if (path := getattr(settings, name)) is not None
    }
    uri = store_uri(settings.tracking_uri)
    check_uri(uri)
    database = database_path(uri)
    if database is not None:
        uri = f"sqlite:///{os.path.abspath(database)}"
    return replace(settings, tracking_uri=uri, **paths)


@contextmanager
def _listen(settings: ServiceSettings) -> Iterator[socket.socket]:
    """A socket on the address."""
    host, port = settings.host.strip("[]"), settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise SettingsError(
                f"--host {host} --port {port}: cannot be used ({reason}); use another port, or 0 "
                "for a free one"
            ) from None
        yield listener


@contextmanager
def _own_folder(folder: Path) -> Iterator[None]:
    """Keep other servers out of the folder; the lock ends with the process."""
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise SettingsError(
            f"--folder {folder}: another server uses it; stop that server, or use another folder"
        ) from None
    except OSError as error:
        raise SettingsError(
            f"--folder {folder}: cannot be written ({error.strerror}); use another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _address(host: str, port: int) -> str:
    shown = host.strip("[]")
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
