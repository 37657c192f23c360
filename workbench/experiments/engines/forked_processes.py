"""Processes that are forked from one that has loaded the libraries.

Importing torch, MLflow and torch-pruning takes seconds of processor time. The local engine imports
them only once: Python's fork server loads them, computes nothing, and forks a process for each
cell.

The server inherits the environment of this process, which is changed while it starts. So the main
thread starts it and waits for it, and Ctrl-C ends the wait. Then any thread can start a process for
a cell.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from types import ModuleType

_SERVER = "workbench.experiments.engines.fork_server"
#: Modules that the fork server imports. The first one sets the environment of MLflow.
_LOADED = [
    "workbench.experiments.cell_kinds",
    "mlflow.store.tracking.sqlalchemy_store",
    "torch_pruning",
    "sklearn.datasets",
    "rich.progress",
    _SERVER,
]
_SERVER_ENDED = 255  # exit status that Python reports when the fork server is gone
_server_runs = threading.Event()


@dataclass(frozen=True)
class Files:
    """Paths of the files that are a process's standard streams; it removes their names."""

    text: Path
    out: Path
    messages: Path


class ForkedProcess:
    """A cell in a forked process, with the methods of ``subprocess.Popen`` that an engine uses."""

    def __init__(self, files: Files, variables: Mapping[str, str], folder: str) -> None:
        start_server(variables)
        with _no_script():
            self._process: ForkServerProcess = _context().Process(
                target=_execute, args=(files, dict(variables), folder)
            )
            self._process.start()

    @property
    def pid(self) -> int:
        """Id of the process and of its group."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Exit status, negative for a signal; None while the process runs."""
        status = self._process.exitcode
        if status == _SERVER_ENDED:
            _server_runs.clear()
        return -signal.SIGKILL if status == _SERVER_ENDED else status

    def wait(self, timeout: float) -> None:
        """Wait for the process to end, at most this long."""
        self._process.join(timeout)


def start_server(variables: Mapping[str, str]) -> None:
    """Start the server if it does not run, and wait until it has loaded the libraries.

    Args:
        variables: of the environment that the libraries are loaded with.
    """
    if _server_runs.is_set():
        return
    folders = os.pathsep.join(path for path in sys.path if path)  # those of this process
    with _environment({**variables, "PYTHONPATH": folders}), _no_script():
        first = _context().Process(target=_do_nothing)
        first.start()
        first.join()
    _server_runs.set()


def _do_nothing() -> None:
    pass


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _no_script() -> Iterator[None]:
    """Hide the caller's script, which Python would otherwise execute again in the process."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


@cache
def _context() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload(_LOADED)
    return context


def _execute(files: Files, variables: Mapping[str, str], folder: str) -> None:
    """Become ``workbench cell -`` with these files as standard streams."""
    os.setsid()
    if _SERVER in sys.modules:
        sys.modules[_SERVER].forget()
    os.environ.update(variables)
    for number, (path, flags) in enumerate(
        ((files.text, os.O_RDONLY), (files.out, os.O_WRONLY), (files.messages, os.O_WRONLY))
    ):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
        path.unlink()
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open to the end
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    if os.path.isdir(folder):
        os.chdir(folder)
    _limit_threads(int(variables["OMP_NUM_THREADS"]))
    sys.argv = ["workbench", "cell", "-"]
    runpy.run_module("workbench", run_name="__main__")


def _limit_threads(number: int) -> None:
    """Set the threads of all libraries: the server may have been started with another number."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(number)
    threadpool_limits(number)
