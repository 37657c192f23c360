"""The options for engines, declared once, and their values as settings."""

from __future__ import annotations

from typing import Any

from workbench.cli.one_option import Option
from workbench.experiments.engines.engine_settings import (
    ENGINE_NAMES,
    ENGINE_OPTIONS,
    EngineSettings,
)

_PANEL = "Engine"

ENGINE: dict[str, Option] = {
    "engine": Option(
        str | None,
        _PANEL,
        f"Train in several processes: {', '.join(ENGINE_NAMES)}; see docs/cluster.md. "
        "(default: all trainings in this process, one after the other)",
    ),
    "workers": Option(
        int | None,
        _PANEL,
        "Trainings at the same time. (default: as many as the processors allow)",
    ),
    "cpus_per_cell": Option(
        int | None,
        _PANEL,
        "Threads of each training. (default: 1; with --engine local --workers N, the processors "
        "divided by N)",
    ),
    "gpus_per_cell": Option(
        float | None,
        _PANEL,
        "GPUs of each training, such as 0.25 for four on one GPU; memory is not limited.",
    ),
    "engine_address": Option(
        str | None,
        _PANEL,
        "ray: address of the cluster, such as auto or ray://head:10001. (default: Ray on this "
        "machine) slurm: the partition.",
    ),
}


def engine_of(chosen: dict[str, Any]) -> EngineSettings | None:
    """Take the engine's options out of a command's; None without ``--engine``.

    Raises:
        SettingsError: with one line for each wrong value.
    """
    return EngineSettings.of(**{name: chosen.pop(name, None) for name in ENGINE_OPTIONS})


def use_threads(engine: EngineSettings | None) -> None:
    """Compute with the threads of the engine's cells, because keys contain their number."""
    if engine:
        import torch

        torch.set_num_threads(engine.threads)
