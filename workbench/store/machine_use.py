"""How much of the machine a training uses, under the names of MLflow's system metrics.

MLflow's own monitor starts a thread for every run, writes without the lock of a SQLite store and
needs psutil. Here a sample is taken when epochs are sent to the store, at most every five seconds,
and costs microseconds.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from typing import Any

import torch

_MEGA = 1e6


class MachineUse:
    """Samples of this process since the last one."""

    def __init__(self) -> None:
        self._cpu, self._time = time.process_time(), time.monotonic()

    def sample(self) -> dict[str, float]:
        """Share of all processor cores in use, and memory, by MLflow's names.

        Returns:
            percent (100 is all cores of the machine), and megabytes: the largest so far of the
            process, and those of torch on each GPU.
        """
        cpu, now = time.process_time(), time.monotonic()
        cores = (os.cpu_count() or 1) * max(now - self._time, 1e-9)
        share = 100 * (cpu - self._cpu) / cores
        self._cpu, self._time = cpu, now
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = {
            "system/cpu_utilization_percentage": min(share, 100.0),
            "system/system_memory_usage_megabytes": most
            * (1 if sys.platform == "darwin" else 1024)
            / _MEGA,
        }
        cuda: Any = torch.cuda
        for number in range(cuda.device_count() if cuda.is_initialized() else 0):
            used = cuda.memory_reserved(number) / _MEGA
            found[f"system/gpu_{number}_memory_usage_megabytes"] = used
        return found
