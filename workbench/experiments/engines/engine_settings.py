"""The options for engines, and the numbers of workers and threads that follow on this machine.

The module has no heavy imports, because the command line checks the options before any work.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from workbench.deployment.optional_libraries import missing_library
from workbench.errors import SettingsError, check_choice

LOCAL, RAY, SLURM = "local", "ray", "slurm"
ENGINE_NAMES = (LOCAL, RAY, SLURM)
#: Names of the options, as on the command line.
ENGINE_OPTIONS = ("engine", "workers", "cpus_per_cell", "gpus_per_cell", "engine_address")
#: The value of ``--engine-address`` that runs submitit on this machine, for tests.
ON_THIS_MACHINE = "local"
_LIBRARIES = {RAY: "ray", SLURM: "submitit"}
_MOST = 4096


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """The options of an engine.

    Attributes:
        engine: a name in ``ENGINE_NAMES``.
        workers: cells that run at the same time; None means as many as the processors allow.
        cpus_per_cell: threads of each cell; None divides the processors among the workers.
        gpus_per_cell: share or number of GPUs of each cell; it places cells, but does not limit
            their memory. None means one GPU for each cell that computes on GPUs, and no placing
            with the local engine.
        engine_address: of a Ray cluster, or a partition of SLURM.
    """

    engine: str
    workers: int | None = None
    cpus_per_cell: int | None = None
    gpus_per_cell: float | None = None
    engine_address: str | None = None

    @classmethod
    def of(cls, **options: object) -> EngineSettings | None:
        """Settings from the options of a command; None without an engine.

        Raises:
            SettingsError: with one line for each wrong value.
        """
        given = {name: value for name, value in options.items() if value is not None}
        if "engine" not in given:
            if given:
                raise SettingsError(
                    *(
                        f"--{name.replace('_', '-')} has no effect without --engine; add --engine "
                        f"{LOCAL} or leave it out"
                        for name in given
                    )
                )
            return None
        settings = cls(**given)  # type: ignore[arg-type]
        problems = settings.problems()
        if problems:
            raise SettingsError(*problems)
        return settings

    def problems(self) -> list[str]:
        """One line for each invalid value."""
        problems = check_choice("--engine", self.engine, ENGINE_NAMES)
        for option, value in (("--workers", self.workers), ("--cpus-per-cell", self.cpus_per_cell)):
            if value is not None and not 1 <= value <= _MOST:
                problems.append(f"{option} {value} is not within 1 to {_MOST}")
        gpus = self.gpus_per_cell
        if gpus is not None and not (0 <= gpus <= 1 or (gpus <= _MOST and gpus == int(gpus))):
            problems.append(
                f"--gpus-per-cell {gpus:g} is neither a share in [0, 1] nor a whole number; try "
                "0.25"
            )
        if self.engine == LOCAL and self.engine_address is not None:
            problems.append(
                f"--engine-address has no effect with --engine {LOCAL}; leave it out, or use "
                f"--engine {RAY} or {SLURM}"
            )
        if self.engine in _LIBRARIES:
            purpose = f"--engine {self.engine}"
            problems += missing_library((_LIBRARIES[self.engine],), self.engine, purpose)
        return problems

    @property
    def threads(self) -> int:
        """Threads of each cell."""
        if self.cpus_per_cell is not None:
            return self.cpus_per_cell
        if self.engine == LOCAL and self.workers is not None:
            return max(1, processors() // self.workers)
        return 1  # one thread each is the fastest for many cells: benchmarks/engines.py

    @property
    def local_workers(self) -> int:
        """Cells that run on this machine at the same time."""
        return self.workers or max(1, processors() // self.threads)

    def gpus(self, device: str) -> float:
        """GPUs of each cell, for engines that place cells.

        Args:
            device: that of the cells, "cpu" or "cuda".
        """
        if self.gpus_per_cell is not None:
            return self.gpus_per_cell
        return 1.0 if device == "cuda" and self.engine != LOCAL else 0.0

    def whole_gpus(self, device: str) -> int:
        """The number of GPUs for schedulers that do not share one."""
        return math.ceil(self.gpus(device))


def processors() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
