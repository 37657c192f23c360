"""The options of stages that train a network with masks, shared kernels or binary weights."""

from __future__ import annotations

from workbench.cli.one_option import Option
from workbench.deployment.settings import BINARY, DeploymentSettings

STAGES_PANEL = "Stages after training"
_PANEL = "Masks, shared kernels, binary weights"

STAGE_TRAININGS: dict[str, Option] = {
    "mask_sparsity": Option(
        float,
        _PANEL,
        "sparse, lottery, supermask: share of the weights that become 0, in [0, 1).",
        DeploymentSettings.mask_sparsity,
    ),
    "mask_epochs": Option(
        int,
        _PANEL,
        "sparse, supermask: epochs of their training.",
        DeploymentSettings.mask_epochs,
    ),
    "lottery_rounds": Option(
        int,
        _PANEL,
        "lottery: how often the network is trained again; each takes as long as its protocol.",
        DeploymentSettings.lottery_rounds,
    ),
    "binary": Option(
        str,
        _PANEL,
        f"binary: {BINARY[0]} (weights), {BINARY[1]} (weights and activations) or {BINARY[2]} "
        "(the same with a scale for each filter).",
        DeploymentSettings.binary,
    ),
    "binary_epochs": Option(
        int, _PANEL, "binary: epochs of its training.", DeploymentSettings.binary_epochs
    ),
    "kernel_granularity": Option(
        int,
        _PANEL,
        "kernel-clustered: levels of the input channels, from 2; more levels make smaller files.",
        DeploymentSettings.kernel_granularity,
    ),
    "kernel_rate": Option(
        int,
        _PANEL,
        "kernel-clustered: how often the number of shared kernels is halved, from 0.",
        DeploymentSettings.kernel_rate,
    ),
    "kernel_epochs": Option(
        int,
        _PANEL,
        "kernel-clustered: epochs of its training.",
        DeploymentSettings.kernel_epochs,
    ),
}
