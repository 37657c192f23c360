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
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from workbench.errors import SettingsError, StoreError
from workbench.store.experiment_views import show, view_paths
from workbench.store.mlflow_store import Store
from workbench.store.runs import KIND
from workbench.store.tracking_uris import check_exists, store_uri

HOST = "127.0.0.1"
_PATIENCE = 90.0  # seconds; a cold start on two busy cores takes about ten


@dataclass(frozen=True)
class Address:
    """Addresses of a running UI.

    Attributes:
        home: the UI.
        views: by the name of an experiment, the address of each view by its title.
    """

    home: str
    views: Mapping[str, Mapping[str, str]]


def serve(tracking_uri: str | None, port: int | None, on_ready: Callable[[Address], None]) -> None:
    """Run the UI until it is interrupted.

    A store that is a server has its own UI. In that case only its address is reported.

    Args:
        port: None for a free port.
        on_ready: called with the addresses when the UI answers.

    Raises:
        StoreError: when there is no store, or the UI does not start.
        SettingsError: when the port is taken.
    """
    uri = store_uri(tracking_uri)
    if uri.startswith(("http://", "https://")):
        on_ready(Address(uri, {}))
        return
    check_exists(tracking_uri)
    store = Store(tracking_uri)
    shown = show_experiments(store)
    port = _free_port(port)
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "workbench.store.mlflow_server", store.address, HOST]
    server = subprocess.Popen(
        [*command, str(port)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    home = f"http://{HOST}:{port}"
    try:
        _wait(server, home)
        views = {
            name: {title: f"{home}/{path}" for title, path in view_paths(number).items()}
            for name, number in shown.items()
        }
        on_ready(Address(f"{home}/#/experiments?workflowType=machine_learning", views))
        server.communicate()
    finally:
        _stop(server)


def show_experiments(store: Store) -> dict[str, str]:
    """Id by name of every experiment with runs of the workbench, set up for the UI.

    Experiments of earlier versions get their tags here.
    """
    found = {}
    with store.client("written") as client:
        for item in client.search_experiments():
            ours = f"tags.`{KIND}` != ''"
            if client.search_runs([item.experiment_id], ours, max_results=1):
                show(client, item)
                found[str(item.name)] = str(item.experiment_id)
    return found


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
