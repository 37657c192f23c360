"""The local engine: cells in processes on this machine, whose threads do not compete."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from workbench.experiments.engines.cell_processes import RunningCell, end_all, here, prepare_forks
from workbench.experiments.engines.cells import Cell
from workbench.experiments.engines.engine_settings import LOCAL
from workbench.experiments.engines.engine_types import CellResult, Engine, Reports, RunCells
from workbench.store.shared_stores import check_local_database

_LOOK_EVERY = 0.1  # seconds


@contextmanager
def local_session(engine: Engine) -> Iterator[RunCells]:
    """Run cells on this machine.

    Raises:
        StoreError: when the store is a SQLite file that other machines may open, too.
    """
    check_local_database(engine.tracking_uri, f"--engine {LOCAL}")
    yield partial(_run, engine)


def _run(engine: Engine, cells: Sequence[Cell]) -> Reports:
    prepare_forks(engine.settings.threads)
    return _reports(engine, cells)


def _reports(engine: Engine, cells: Sequence[Cell]) -> Reports:
    waiting = list(cells)
    free = list(range(engine.settings.local_workers))
    running: dict[int, tuple[Cell, RunningCell]] = {}
    try:
        while waiting or running:
            while waiting and free and _may_start(waiting[0], running):
                slot, cell = free.pop(0), waiting.pop(0)
                running[slot] = (
                    cell,
                    RunningCell(
                        cell.to_json(),
                        engine.settings.threads,
                        here(),
                        _gpu(engine, slot),
                        forked=True,
                    ),
                )
            for slot, (cell, process) in list(running.items()):
                ended = process.poll()
                if ended is not None:
                    del running[slot]
                    free.append(slot)
                    yield CellResult(cell, ended)
            yield _note(running)
            time.sleep(_LOOK_EVERY)
    finally:
        end_all([process for _, process in running.values()])


def _may_start(cell: Cell, running: dict[int, tuple[Cell, RunningCell]]) -> bool:
    timed = any(each.is_timed for each, _ in running.values())
    return not running or not (timed or cell.is_timed)


def _note(running: dict[int, tuple[Cell, RunningCell]]) -> str:
    """What is running; for a single cell its own message."""
    if len(running) == 1:
        ((cell, process),) = running.values()
        return process.message() or cell.title
    return ", ".join(cell.title for cell, _ in running.values())


def _gpu(engine: Engine, slot: int) -> dict[str, str]:
    """The GPU of a worker, where GPUs are shared out."""
    share = engine.settings.gpus(engine.device)
    if engine.device != "cuda" or not share:
        return {}
    import torch

    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = listed.split(",") if listed else [str(n) for n in range(torch.cuda.device_count())]
    each = max(1, int(share))
    first = int(slot * share) if share < 1 else slot * each
    return {"CUDA_VISIBLE_DEVICES": ",".join(names[(first + n) % len(names)] for n in range(each))}
