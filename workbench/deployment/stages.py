"""The stages after training: each writes a file for a device from a trained network."""

from __future__ import annotations

import importlib
from pathlib import Path

from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_types import StageReport, TrainedNetwork

#: Module and function of each stage in ``stage_names.STAGES``, imported when it is used.
_MAKERS = {
    "int8": ("quantisation.int8", "make_int8"),
    "int8-qat": ("quantisation.int8_qat", "make_int8_qat"),
    "mixed": ("quantisation.mixed_bits", "make_mixed"),
    "clustered": ("quantisation.clustered_weights", "make_clustered"),
    "binary": ("quantisation.binary_training", "make_binary"),
    "sparse": ("masks.sparse", "make_sparse"),
    "lottery": ("masks.lottery", "make_lottery"),
    "supermask": ("masks.supermask", "make_supermask"),
}


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
    module, function = _MAKERS[name]
    home = importlib.import_module(f"workbench.deployment.{module}")
    report: StageReport = getattr(home, function)(trained, settings, path)
    return report
