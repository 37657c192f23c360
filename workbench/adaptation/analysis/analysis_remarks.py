"""Lines about an analysis to print before the trainings: warnings, and effects of options."""

from __future__ import annotations

from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.tasks.task import Task
from workbench.compression.method_names import ENERGIES
from workbench.errors import counted
from workbench.models.networks import find_network
from workbench.models.weight_files import has_penalty
from workbench.reporting.recipe_text import bottleneck_warning, no_factor_warning

#: What the threshold of a method is, where it has a name.
_THRESHOLDS = dict.fromkeys(ENERGIES, "an energy") | dict.fromkeys(("pfa-kl", "dalr"), "a factor")


def analysis_remarks(analysis: Analysis, task: Task) -> list[str]:
    """Warnings, the cost of gates, and the effects of a budget and of rounding, one line each."""
    lines = []
    if analysis.compensation:
        lines += analysis.compensation.lines()
    lines += _scales_warning(task)
    if task.gates:
        lines.append(
            f"{task.gates}: its cost includes {counted(task.gate_epochs, 'epoch')} of the full "
            "network with gates"
        )
    if task.budget and analysis.recipe.threshold is not None:
        method = task.settings.recipe.method
        name = _THRESHOLDS.get(method, "a threshold")
        lines.append(f"{task.budget}: {method} at {name} of {analysis.recipe.threshold:.6g}")
    if task.budget:
        lines += bottleneck_warning(analysis.recipe)
    lines += no_factor_warning(analysis.recipe)
    if analysis.runtime_ms is not None:
        runtime = task.settings.recipe.runtime
        lines.append(f"{runtime}: {analysis.runtime_ms:.3g} ms for one image, measured again")
    return lines + _rounding(analysis, task)


def _scales_warning(task: Task) -> list[str]:
    """A line if network slimming reads scales that were trained without a penalty."""
    weights = task.settings.what.weights
    if not task.settings.recipe.reads_scales or not weights or has_penalty(weights):
        return []
    penalty = find_network(task.model).schedule.sparsity
    return [
        "warning: network-slimming needs a source network with penalised scales; "
        f"{weights} has no record of a penalty; train one with "
        f"'workbench train --sparsity {penalty:g}'"
    ]


def _rounding(analysis: Analysis, task: Task) -> list[str]:
    """What ``--multiple-of`` costs, if it is used."""
    if not analysis.unrounded:
        return []
    more = [
        100 * (rounded / plain - 1)
        for rounded, plain in (
            (analysis.compressed.parameters, analysis.unrounded.parameters),
            (analysis.compressed.flops, analysis.unrounded.flops),
        )
    ]
    return [
        f"--multiple-of {task.settings.recipe.multiple_of}: {more[0]:+.1f} % parameters, "
        f"{more[1]:+.1f} % FLOPs"
    ]
