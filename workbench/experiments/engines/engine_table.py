"""The table of engines, and the opening of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from workbench.experiments.engines.engine_settings import LOCAL, RAY, SLURM, EngineSettings
from workbench.experiments.engines.engine_types import Engine, RunCells
from workbench.experiments.engines.local_engine import local_session
from workbench.experiments.engines.ray_engine import ray_session
from workbench.experiments.engines.slurm_engine import slurm_session
from workbench.models.processor import resolve_processor
from workbench.store.unfinished_work import DEFAULT_OUTPUT
from workbench.training.settings import TrainingSettings

ENGINES: dict[str, Callable[[Engine], AbstractContextManager[RunCells]]] = {
    LOCAL: local_session,
    RAY: ray_session,
    SLURM: slurm_session,
}


@dataclass(frozen=True)
class OpenEngine:
    """An engine that runs cells."""

    settings: EngineSettings
    run: RunCells


@contextmanager
def open_engine(settings: EngineSettings, options: Mapping[str, Any]) -> Iterator[OpenEngine]:
    """Open an engine for cells with these options of ``adapt``.

    Keys contain the number of threads, so this process has that of the cells in the meantime.

    Raises:
        SettingsError: when the engine cannot be used.
        StoreError: when its machines cannot share the store.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        processor = resolve_processor(
            options.get("device") or TrainingSettings.device,
            options.get("precision") or TrainingSettings.precision,
        )
        output = Path(options.get("output") or DEFAULT_OUTPUT)
        engine = Engine(settings, processor.device, options.get("tracking_uri"), output)
        with ENGINES[settings.engine](engine) as run:
            yield OpenEngine(settings, run)
    finally:
        torch.set_num_threads(before)
