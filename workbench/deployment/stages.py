"""The stages after training: each writes a file for a device from a trained network."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.data.image_batches import ImageSet
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_types import StageReport, TrainedNetwork

#: Module and function of each stage in ``stage_names.STAGES``, imported when it is used.
_MAKERS = {
    "int8": ("quantisation.int8", "make_int8"),
    "int8-qat": ("quantisation.int8_qat", "make_int8_qat"),
    "mixed": ("quantisation.mixed_bits", "make_mixed"),
    "clustered": ("quantisation.clustered_weights", "make_clustered"),
    "kernel-clustered": ("quantisation.kernel_clustered", "make_kernel_clustered"),
    "binary": ("quantisation.binary_training", "make_binary"),
    "sparse": ("masks.sparse", "make_sparse"),
    "lottery": ("masks.lottery", "make_lottery"),
    "supermask": ("masks.supermask", "make_supermask"),
    "multi-exit": ("multi_exit", "make_multi_exit"),
}
#: Functions that compute what a file costs on images, for the stages with ``own_costs``.
_COSTS = {"multi-exit": ("multi_exit", "exit_costs")}


def apply_stage(
    name: str, trained: TrainedNetwork, settings: DeploymentSettings, path: Path
) -> StageReport:
    """Write the file of a stage.

    Args:
        name: a name in ``stage_names.STAGES``.
        path: file to write, with the stage's suffix.

    Raises:
        WorkbenchError: when a library is missing or the network is not suitable.
    """
    report: StageReport = _function(*_MAKERS[name])(trained, settings, path)
    return report


def file_costs(name: str, path: Path, model: str | None, images: ImageSet) -> dict[str, float]:
    """What the file of a stage with ``own_costs`` costs on images, as metrics; {} for other stages.

    Args:
        path: the stage's file.
        model: name of its network, if the user's own code defines it.
    """
    if name not in _COSTS:
        return {}
    costs: dict[str, float] = _function(*_COSTS[name])(path, model, images)
    return costs


def _function(module: str, name: str) -> Callable[..., Any]:
    """A function of a module of this package."""
    home = importlib.import_module(f"workbench.deployment.{module}")
    found: Callable[..., Any] = getattr(home, name)
    return found
