"""Faults for a running bench. Each is a generator: it does harm, and yields what it has done.

A fault gets the bench, its driver's process, a seeded random generator and an event that is set
when the driver has ended. The seed fixes the order and the pauses; which cell is running at such a
moment depends on the machine.
"""

import os
import signal
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

_LOOK_EVERY = 0.1


def cells_killed(number, longest=2.0):
    """Kill processes of cells, each a random moment after the one before.

    Args:
        longest: seconds between two faults at most.
    """

    def fault(bench, driver, drawing, ended):
        for _ in range(number):
            if pid := _some_cell(bench, driver, drawing, ended, longest):
                yield from _killed(pid, "cell killed")

    return fault


def workers_killed(number, longest=4.0):
    """Kill the processes that run a cell for Ray or submitit: the parents of the cells."""

    def fault(bench, driver, drawing, ended):
        for _ in range(number):
            pid = _some_cell(bench, driver, drawing, ended, longest)
            parent = _parent(pid) if pid else 0
            if parent > 1 and parent != driver.pid:
                yield from _killed(parent, "worker killed")

    return fault


def driver_killed(longest=4.0):
    """Kill the command itself, a random moment after its first cell has begun."""

    def fault(bench, driver, drawing, ended):
        if _some_cell(bench, driver, drawing, ended, longest):
            yield from _killed(driver.pid, "driver killed")

    return fault


def node_lost(cluster, node, longest=6.0):
    """Remove a machine of a Ray cluster without a warning."""

    def fault(bench, driver, drawing, ended):
        if _some_cell(bench, driver, drawing, ended, longest):
            cluster.remove_node(node, allow_graceful=False)
            yield "Ray node lost"

    return fault


def server_down(server, seconds, longest=4.0):
    """Kill a tracking server and start it again."""

    def fault(bench, driver, drawing, ended):
        if _some_cell(bench, driver, drawing, ended, longest):
            server.kill()
            yield f"server down for {seconds} s"
            time.sleep(seconds)
            server.start()

    return fault


def disk_filled(seconds, longest=3.0):
    """Fill the file system of the bench to the last byte, and free it again."""

    def fault(bench, driver, drawing, ended):
        if _some_cell(bench, driver, drawing, ended, longest):
            fill = bench.folder / "fill"
            try:
                with fill.open("wb", buffering=0) as file, suppress(OSError):
                    while True:
                        file.write(bytes(1 << 16))
                with fill.open("ab", buffering=0) as file, suppress(OSError):
                    while True:
                        file.write(b"0")
                yield f"disk full for {seconds} s"
                ended.wait(seconds)
            finally:
                fill.unlink(missing_ok=True)

    return fault


def sqlite_locked(seconds, longest=2.0):
    """Lock the SQLite database, as another program does that was stopped in a transaction."""

    def fault(bench, driver, drawing, ended):
        if _some_cell(bench, driver, drawing, ended, longest):
            path = bench.folder / "mlruns/mlflow.db"
            with closing(sqlite3.connect(path, timeout=60)) as database:
                database.execute("BEGIN EXCLUSIVE")
                yield f"database locked for {seconds} s"
                ended.wait(seconds)

    return fault


def postgresql_stopped(folder, seconds, longest=3.0):
    """Stop all processes of a PostgreSQL server for a while."""

    def fault(bench, driver, drawing, ended):
        if _some_cell(bench, driver, drawing, ended, longest):
            first = int((folder / "data/postmaster.pid").read_text().split()[0])
            every = [first, *(pid for pid in _processes() if _parent(pid) == first)]
            try:
                _signal(every, signal.SIGSTOP)
                yield f"database stopped for {seconds} s"
                time.sleep(seconds)
            finally:
                _signal(every, signal.SIGCONT)

    return fault


def database_crashed(folder, longest=3.0):
    """Kill a process that serves a connection: PostgreSQL then ends all others and recovers."""

    def fault(bench, driver, drawing, ended):
        if _some_cell(bench, driver, drawing, ended, longest):
            first = int((folder / "data/postmaster.pid").read_text().split()[0])
            serving = [pid for pid in _processes() if _parent(pid) == first and _serves(pid)]
            if serving:
                yield from _killed(drawing.choice(serving), "database crashed")

    return fault


def _some_cell(bench, driver, drawing, ended, longest):
    """Wait a random time and then for a cell; its process id, 0 if the driver has ended."""
    until_first = not cells_in(bench.folder, driver.pid)
    pause = drawing.uniform(0, longest)
    while not cells_in(bench.folder, driver.pid):
        if ended.wait(_LOOK_EVERY):
            return 0
    if ended.wait(pause if not until_first else pause + 0.5):
        return 0
    while not (cells := cells_in(bench.folder, driver.pid)):
        if ended.wait(_LOOK_EVERY):
            return 0
    return drawing.choice(cells)


def cells_in(folder, driver):
    """Process ids of the cells that work in a folder: each leads a session of its own."""
    found = []
    for pid in _processes():
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            is_cell = b"\0cell\0" in words or b"forkserver" in words
            inside = Path(f"/proc/{pid}/cwd").readlink() == folder
            if is_cell and inside and pid not in (driver, os.getpid()) and os.getsid(pid) == pid:
                found.append(pid)
    return sorted(found)


def _serves(pid):
    with suppress(OSError):
        return b"me postgres" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _processes():
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _parent(pid):
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _killed(pid, what):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    yield what


def _signal(pids, number):
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
