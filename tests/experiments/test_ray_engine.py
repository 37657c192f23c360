"""A bench on a local Ray cluster of three nodes, and through submitit, with processes killed."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import test_engines
from test_engines import bench, rows, run, stored

from workbench.store.runs import FINISHED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # those of Ray
]
undisturbed = test_engines.undisturbed


def _kill_cells(folder, number, ended, killed):
    """Kill processes of cells in a folder, each a moment after it has begun."""
    while len(killed) < number and not ended.wait(0.5):
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
                inside = (path.parent / "cwd").readlink() == folder
            except OSError:
                continue
            if inside and b"cell" in words and len(killed) < number:
                time.sleep(3)
                try:
                    os.kill(int(path.parent.name), signal.SIGKILL)
                    killed.append(path.parent.name)
                except ProcessLookupError:
                    continue


def _disturbed(folder, *options, kills=2):
    folder.mkdir()
    ended, killed = threading.Event(), []
    killer = threading.Thread(target=_kill_cells, args=(folder, kills, ended, killed))
    killer.start()
    try:
        assert run(folder, *bench(folder), *options, "--cpus-per-cell", 1) == 0
    finally:
        ended.set()
        killer.join()
    assert killed


def test_three_nodes_have_the_rows_of_one_process(undisturbed, monkeypatch):
    pytest.importorskip("ray", reason="needs Ray: pip install 'pfa-workbench[ray]'")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    folder = undisturbed.parent / "ray"
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        _disturbed(folder, "--engine", "ray", "--engine-address", cluster.address)
    finally:
        cluster.shutdown()
    assert rows(folder) == rows(undisturbed)
    assert {run.status for run in stored(folder)} == {FINISHED}


def test_jobs_of_submitit_have_the_rows_of_one_process(undisturbed):
    pytest.importorskip("submitit", reason="needs submitit: pip install 'pfa-workbench[slurm]'")
    folder = undisturbed.parent / "slurm"
    _disturbed(folder, "--engine", "slurm", "--engine-address", "local", "--workers", 2)
    assert rows(folder) == rows(undisturbed)
    assert {run.status for run in stored(folder)} == {FINISHED}
