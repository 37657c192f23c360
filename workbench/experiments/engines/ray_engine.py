"""The Ray engine: one task a cell on a Ray cluster, or on a Ray instance that is started here.

A task runs its cell in a subprocess, so a crash or an out-of-memory kill costs one cell, and GPU
memory is returned. GPU shares place cells; they do not isolate memory. Only text and numbers go to
the workers, which need the same version of the workbench.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from workbench.deployment.optional_libraries import import_library
from workbench.errors import SettingsError, brief
from workbench.experiments.engines.cell_processes import Ended, here, run_to_end
from workbench.experiments.engines.cells import Cell
from workbench.experiments.engines.engine_settings import RAY, processors
from workbench.experiments.engines.engine_types import CellResult, Engine, Reports, RunCells
from workbench.store.shared_stores import check_local_database, check_shared_store

_RETRIES = 3  # of a task whose worker or machine is lost
_LOOK_EVERY = 1.0  # seconds
_PATIENCE = 8.0  # seconds for the cells to end after an interruption


@contextmanager
def ray_session(engine: Engine) -> Iterator[RunCells]:
    """Connect to a Ray cluster, or start Ray on this machine.

    Raises:
        SettingsError: when Ray cannot be reached.
        StoreError: when the cluster's machines cannot share the store.
    """
    ray = import_library("ray", RAY, f"--engine {RAY}")
    own = not ray.is_initialized()
    if own:
        _connect(ray, engine.settings.engine_address)
    try:
        _check_store(ray, engine)
        yield partial(_run, ray, engine)
    finally:
        if own:
            ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    new = {} if address else {"num_cpus": processors(), "include_dashboard": False}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **new)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        where = f"--engine-address {address}" if address else f"--engine {RAY}"
        raise SettingsError(
            f"{where}: Ray cannot be reached ({brief(error)}); 'ray status' on the cluster tells "
            "more"
        ) from None


def _check_store(ray: Any, engine: Engine) -> None:
    nodes = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    if nodes - {socket.gethostname()}:
        check_shared_store(engine.tracking_uri, "a Ray cluster of several machines")
    elif engine.settings.engine_address:
        check_local_database(engine.tracking_uri, "a Ray cluster")


def _run(ray: Any, engine: Engine, cells: Sequence[Cell]) -> Reports:
    settings = engine.settings
    task = ray.remote(
        num_cpus=settings.threads,
        num_gpus=settings.gpus(engine.device),
        max_retries=_RETRIES,
        retry_exceptions=[OSError, ConnectionError],
        max_calls=1,
    )(run_to_end)
    waiting = list(cells)
    running: dict[Any, Cell] = {}
    most = settings.workers or len(cells)
    try:
        while waiting or running:
            while waiting and len(running) < most:
                cell = waiting.pop(0)
                running[task.remote(cell.to_json(), settings.threads, here())] = cell
            done, _ = ray.wait(list(running), timeout=_LOOK_EVERY)
            for reference in done:
                yield CellResult(running.pop(reference), _ended(ray, reference))
            yield f"{len(running) + len(waiting)} submitted"
    finally:
        _cancel(ray, list(running))


def _ended(ray: Any, reference: Any) -> Ended:
    try:
        return ray.get(reference)  # type: ignore[no-any-return]
    except ray.exceptions.RayError as error:
        return Ended(None, f"its task failed: {brief(error)}")


def _cancel(ray: Any, running: list[Any]) -> None:
    """Interrupt the tasks, which end their processes."""
    for reference in running:
        ray.cancel(reference)
    limit = time.monotonic() + _PATIENCE
    while running and time.monotonic() < limit:
        _, running = ray.wait(running, num_returns=len(running), timeout=0.5)
