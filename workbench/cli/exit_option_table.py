"""Options of the stage multi-exit."""

from __future__ import annotations

from workbench.cli.one_option import Option
from workbench.deployment.settings import DeploymentSettings

_STAGES = "Early exits"

EXIT_OPTIONS: dict[str, Option] = {
    "exits": Option(
        int,
        _STAGES,
        "multi-exit: number of exits before the last one.",
        DeploymentSettings.exits,
    ),
    "exit_epochs": Option(
        int, _STAGES, "multi-exit: epochs of the exits' training.", DeploymentSettings.exit_epochs
    ),
    "exit_flops": Option(
        float | None,
        _STAGES,
        "multi-exit: largest expected share of the network's FLOPs, in place of --exit-tolerance.",
    ),
    "exit_tolerance": Option(
        float,
        _STAGES,
        "multi-exit: percentage points that the accuracy on held-out training images may be below "
        "that of the last exit.",
        DeploymentSettings.exit_tolerance,
    ),
}
