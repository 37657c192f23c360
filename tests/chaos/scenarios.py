"""Scenarios: an engine, a store, and the faults that hit a bench on them.

Each is a context manager that opens what it needs in a folder and yields a ``Scene``. Where
something is missing on this machine, it skips with the reason.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest
from bench_runs import ON_ENGINE
from faults import (
    cells_killed,
    database_crashed,
    disk_filled,
    driver_killed,
    node_lost,
    postgresql_stopped,
    server_down,
    sqlite_locked,
    workers_killed,
)
from postgresql import lacking, postgresql_server

LOCAL = ("--engine", "local", "--workers", 2, *ON_ENGINE)
SUBMITIT = ("--engine", "slurm", "--engine-address", "local", "--workers", 2, *ON_ENGINE)
_DISK = "40m"  # a bench needs about 10 MB of it


@dataclass(frozen=True)
class Scene:
    """What a bench gets, and the faults that hit it one after the other.

    Attributes:
        options: of the engine.
        faults: made by the functions of ``faults``.
        tracking_uri: of the store; None for SQLite in the folder.
    """

    options: tuple
    faults: tuple
    tracking_uri: str | None = None


@contextmanager
def local_cells(folder):
    """Cells of the local engine are killed."""
    yield Scene(LOCAL, (cells_killed(3),))


@contextmanager
def local_driver(folder):
    """The driver of the local engine is killed after one of its cells."""
    yield Scene(LOCAL, (cells_killed(1), driver_killed()))


@contextmanager
def short_faults(folder):
    """A little of everything that needs no server and no root: a part of ``make test``."""
    yield Scene(LOCAL, (sqlite_locked(1), cells_killed(1, 0.5), driver_killed(1.0)))


@contextmanager
def locked_database(folder):
    """The SQLite store is locked."""
    yield Scene(LOCAL, (sqlite_locked(25), cells_killed(1), sqlite_locked(8)))


@contextmanager
def full_disk(folder):
    """The disk is filled while cells work; root is needed for a small disk."""
    with _small_disk(folder):
        yield Scene(LOCAL, (disk_filled(6), disk_filled(6)))


@contextmanager
def ray_workers(folder):
    """Cells and workers of Ray are killed, and one of its three nodes is lost."""
    with _ray_cluster() as (cluster, nodes):
        faults = (cells_killed(1), workers_killed(1), node_lost(cluster, nodes[0]))
        yield Scene(("--engine", "ray", "--engine-address", cluster.address, *ON_ENGINE), faults)


@contextmanager
def ray_driver(folder):
    """The driver of a Ray cluster is killed after one of its cells."""
    with _ray_cluster() as (cluster, _):
        options = ("--engine", "ray", "--engine-address", cluster.address, *ON_ENGINE)
        yield Scene(options, (cells_killed(1), driver_killed()))


@contextmanager
def submitit_cells(folder):
    """Cells in jobs of submitit are killed."""
    _need_submitit()
    yield Scene(SUBMITIT, (cells_killed(3),))


@contextmanager
def submitit_jobs(folder):
    """Jobs of submitit are killed with their cells."""
    _need_submitit()
    yield Scene(SUBMITIT, (workers_killed(2),))


@contextmanager
def lost_server(folder):
    """The tracking server is killed and starts again after 30 s."""
    with _TrackingServer(folder) as server:
        yield Scene(LOCAL, (server_down(server, 30),), server.address)


@contextmanager
def stopped_postgresql(folder):
    """PostgreSQL is stopped for a while, later one of its processes crashes."""
    if lacking():
        pytest.skip(lacking())
    with postgresql_server("chaos") as place:
        uri = f"postgresql:///postgres?host={place}&user=me"
        faults = (postgresql_stopped(place, 20), cells_killed(1), database_crashed(place))
        yield Scene(LOCAL, faults, uri)


#: The engines, each with faults after which one command goes on by itself, by name.
ENGINES = {
    "local: cells killed": local_cells,
    "Ray: cells, workers and a node lost": ray_workers,
    "submitit: cells killed": submitit_cells,
}
#: Faults after which the same command may be needed again.
SCENARIOS = {
    "local: driver killed": local_driver,
    "local: database locked": locked_database,
    "local: disk full": full_disk,
    "local: tracking server killed": lost_server,
    "local: PostgreSQL stopped, then crashed": stopped_postgresql,
    "Ray: driver killed": ray_driver,
    "submitit: jobs killed": submitit_jobs,
}


def _need_submitit():
    pytest.importorskip("submitit", reason="needs submitit: pip install 'pfa-workbench[slurm]'")


@contextmanager
def _ray_cluster():
    """Three nodes of one processor each, all on this machine; gives the two that may be lost."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'pfa-workbench[ray]'")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster, [cluster.add_node(num_cpus=1) for _ in range(2)]
    finally:
        cluster.shutdown()


@contextmanager
def _small_disk(folder):
    """A file system of a few megabytes in a folder."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root, to mount a small disk")
    folder.mkdir(exist_ok=True)
    options = ("-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs")
    done = subprocess.run(["mount", *options, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


class _TrackingServer:
    """``mlflow server`` with its artifacts, in processes that can be killed and started again."""

    def __init__(self, folder):
        self._folder = folder.with_name(f"{folder.name}-server")
        self._folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self._port}"
        self._process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        words = (
            "server", "--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db",
            "--artifacts-destination", self._folder / "artifacts", "--port", self._port,
            "--workers", 1,
        )  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *map(str, words)],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            start_new_session=True,
        )
        limit = time.monotonic() + 120
        while time.monotonic() < limit:
            with suppress(OSError), urllib.request.urlopen(f"{self.address}/health", timeout=5):
                return
            assert self._process.poll() is None, "the tracking server has ended"
            time.sleep(0.2)
        raise AssertionError("the tracking server does not answer")

    def kill(self):
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
