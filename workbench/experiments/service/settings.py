"""The options of ``workbench serve``, and their checks."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

TOKEN_ENVIRONMENT = "WORKBENCH_TOKEN"
_SHORTEST_TOKEN = 16  # characters
_MOST_WORKERS, _MOST_QUEUE, _MOST_MB = 64, 10_000, 1_000_000
_LOCALHOST = "localhost"
MB = 1_000_000


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """The options of the server.

    Attributes:
        host, port: address to listen on; port 0 is a free one.
        token: what clients must send; "" for none, which only a loopback address allows.
        allow_host: further names under which clients reach the server, such as that of a reverse
            proxy.
        folder: folder of jobs and uploads.
        root: folder whose files clients may name; None allows uploads only.
        workers: number of jobs that run at the same time.
        queue: number of jobs that may wait.
        upload_mb: largest upload in MB (10**6 bytes).
        storage_mb: largest size of all uploads together in MB.
        data_dir, domains, output: as in the options of ``adapt``.
        tracking_uri: the MLflow store; the default one when None.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = field(default="", repr=False)
    allow_host: tuple[str, ...] = ()
    folder: Path = Path("mlruns/service")
    root: Path | None = None
    workers: int = 1
    queue: int = 20
    upload_mb: int = 500
    storage_mb: int = 10_000
    data_dir: Path | None = None
    domains: Path | None = None
    output: Path | None = None
    tracking_uri: str | None = field(default=None, repr=False)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        return is_loopback(self.host)

    def problems(self) -> list[str]:
        """One line for each invalid value."""
        problems = [
            f"{option} {value} is not within {least} to {most}"
            for option, value, least, most in (
                ("--port", self.port, 0, 65535),
                ("--workers", self.workers, 1, _MOST_WORKERS),
                ("--queue", self.queue, 1, _MOST_QUEUE),
                ("--upload-mb", self.upload_mb, 1, _MOST_MB),
                ("--storage-mb", self.storage_mb, 1, _MOST_MB),
            )
            if not least <= value <= most
        ]
        for option, folder in (("--root", self.root), ("--domains", self.domains)):
            if folder is not None and not os.path.isdir(folder):
                problems.append(f"{option} {folder}: no such folder; create it or use another")
        return problems + self._token_problems()

    def _token_problems(self) -> list[str]:
        source = f"--token, or ${TOKEN_ENVIRONMENT}"
        if self.token:
            if len(self.token) < _SHORTEST_TOKEN or not self._is_sendable():
                return [
                    f"{source}: needs at least {_SHORTEST_TOKEN} ASCII characters without spaces; "
                    "'openssl rand -hex 16' makes one"
                ]
            return []
        outside = [name for name in self.allow_host if not is_loopback(name)]
        if not self.is_loopback:
            return [f"--host {self.host}: other machines can reach it, so set {source}"]
        if outside:
            return [f"--allow-host {outside[0]}: others can reach the server, so set {source}"]
        return []

    def _is_sendable(self) -> bool:
        return self.token.isascii() and self.token.isprintable() and " " not in self.token


def is_loopback(host: str) -> bool:
    """Whether a host name or address always means this machine."""
    if host == _LOCALHOST:
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
