"""The MLflow UI on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from workbench.errors import SettingsError, StoreError
from workbench.store.mlflow_store import Store
from workbench.store.tracking_uris import database_path, store_exists, store_uri

HOST = "127.0.0.1"
_PATIENCE = 90.0  # seconds; a cold start on two busy cores takes about ten


def serve(tracking_uri: str | None, port: int | None, on_ready: Callable[[str], None]) -> None:
    """Run the UI until it is interrupted.

    A store that is a server has its own UI. In that case only its address is reported.

    Args:
        port: None for a free port.
        on_ready: called with the address when the UI answers.

    Raises:
        StoreError: when there is no store, or the UI does not start.
        SettingsError: when the port is taken.
    """
    uri = store_uri(tracking_uri)
    if uri.startswith(("http://", "https://")):
        on_ready(uri)
        return
    if not store_exists(tracking_uri):
        raise StoreError(f"store {uri}: does not exist yet; run 'workbench adapt' first")
    Store(tracking_uri)  # raises a StoreError of one line if it cannot be used
    database = database_path(uri)
    if database is not None:
        uri = f"sqlite:///{database.resolve()}"
    port = _free_port(port)
    # One worker and no job runners are enough for one user, and halve the start time.
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    env.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri),
        *("--registry-store-uri", uri, "--host", HOST, "--port", str(port)),
        *("--workers", "1", "--uvicorn-opts", "--log-level warning"),
    ]
    server = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    address = f"http://{HOST}:{port}"
    try:
        _wait(server, address)
        on_ready(f"{address}/#/experiments?workflowType=machine_learning")
        server.communicate()
    finally:
        _stop(server)


def _free_port(wanted: int | None) -> int:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, wanted or 0))
        except (OSError, OverflowError):
            raise SettingsError(f"--port {wanted} cannot be used; leave it out") from None
        return int(probe.getsockname()[1])


def _wait(server: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if server.poll() is not None:
            said = (server.stdout.read() if server.stdout else b"").decode(errors="replace")
            raise StoreError(f"the MLflow UI did not start: {' '.join(said.split())[-300:]}")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise StoreError(f"the MLflow UI did not answer on {address} within {_PATIENCE:.0f} s")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and the workers that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
