"""The SLURM engine: one job a cell, in arrays, through submitit.

A job that is preempted or reaches its time limit ends its cell, is requeued, and continues from the
cell's checkpoint. The folder of unfinished work must be on a file system that all nodes share;
submitit keeps its own files there. The variables of sbatch, such as SBATCH_ACCOUNT or
SBATCH_TIMELIMIT, apply.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from workbench.deployment.optional_libraries import import_library
from workbench.errors import SettingsError, brief
from workbench.experiments.engines.cell_processes import Ended, RunningCell, end_all, here
from workbench.experiments.engines.cells import Cell
from workbench.experiments.engines.engine_settings import ON_THIS_MACHINE, SLURM
from workbench.experiments.engines.engine_types import CellResult, Engine, Reports, RunCells
from workbench.store.shared_stores import check_shared_store

_MINUTES = 240  # time limit of a job; a longer training goes on after it is requeued
_MOST_TIMEOUTS = 100
_LOOK_EVERY = {True: 0.2, False: 5.0}  # seconds, on this machine and on a cluster
_REPORT_EVERY = 0.2
_AT_ONCE = 256  # jobs of an array, without --workers


@dataclass
class CellTask:
    """What a job executes; it is written to the job's folder, so it holds plain data only."""

    text: str
    threads: int
    folder: str

    def __call__(self) -> Ended:
        """Run the cell in a subprocess."""
        self._running = RunningCell(self.text, self.threads, self.folder)
        try:
            while (ended := self._running.poll()) is None:
                time.sleep(0.1)
            return ended
        finally:
            end_all([self._running])

    def checkpoint(self) -> Any:
        """End the cell, whose checkpoint is in the work folder, and requeue the same work."""
        from submitit.helpers import DelayedSubmission

        end_all([self._running])
        return DelayedSubmission(CellTask(self.text, self.threads, self.folder))


@contextmanager
def slurm_session(engine: Engine) -> Iterator[RunCells]:
    """Submit cells to SLURM.

    Raises:
        SettingsError: when this machine has no SLURM.
        StoreError: when the nodes cannot share the store.
    """
    submitit = import_library("submitit", SLURM, f"--engine {SLURM}")
    settings, here_only = engine.settings, engine.settings.engine_address == ON_THIS_MACHINE
    if not here_only:
        check_shared_store(engine.tracking_uri, f"--engine {SLURM}")
        if shutil.which("sbatch") is None:
            raise SettingsError(
                f"--engine {SLURM}: there is no 'sbatch' on this machine; run the command on a "
                "login node of the cluster"
            )
    folder = engine.output.absolute() / SLURM
    executor = submitit.AutoExecutor(
        folder, cluster="local" if here_only else "slurm", slurm_max_num_timeout=_MOST_TIMEOUTS
    )
    gpus = settings.whole_gpus(engine.device)
    executor.update_parameters(
        name="workbench",
        timeout_min=_MINUTES,
        cpus_per_task=settings.threads,
        slurm_array_parallelism=settings.workers or _AT_ONCE,
        **({"gpus_per_node": gpus} if gpus else {}),
        **({"slurm_partition": settings.engine_address} if settings.engine_address else {}),
    )
    yield partial(_run, executor, engine, here_only)


def _run(executor: Any, engine: Engine, here_only: bool, cells: Sequence[Cell]) -> Reports:
    settings = engine.settings
    waiting = [(cell, CellTask(cell.to_json(), settings.threads, here())) for cell in cells]
    running: list[tuple[Cell, Any]] = []
    # submitit's local executor starts all jobs at once; on a cluster, an array has its own limit.
    most = settings.local_workers if here_only else len(waiting)
    try:
        while waiting or running:
            room = waiting[: max(0, most - len(running))]
            if room:
                del waiting[: len(room)]
                jobs = executor.submit_array([task for _, task in room])
                running += [(cell, job) for (cell, _), job in zip(room, jobs, strict=True)]
            for cell, job in [(cell, job) for cell, job in running if job.done()]:
                running.remove((cell, job))
                yield CellResult(cell, _ended(job))
            limit = time.monotonic() + _LOOK_EVERY[here_only]
            while time.monotonic() < limit:
                yield f"{len(running) + len(waiting)} submitted"
                time.sleep(_REPORT_EVERY)
    finally:
        for _, job in running:
            job.cancel()


def _ended(job: Any) -> Ended:
    """The result of a job; its file is written by our own process."""
    try:
        return job.result()  # type: ignore[no-any-return]
    except Exception as error:  # noqa: BLE001 - a job may fail in any way
        return Ended(None, f"job {job.job_id} failed: {brief(error)}; see {job.paths.stderr}")
