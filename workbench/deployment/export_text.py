"""Text about an exported file: what was compared, and whether a stage is worth it."""

from __future__ import annotations

from workbench.deployment.export import FLOAT, NOISE, Exported
from workbench.deployment.runtimes import TORCH
from workbench.reporting.results import SAME_SPEED, SIGNIFICANT
from workbench.reporting.statistics import paired_p_value
from workbench.reporting.tables import byte_count, percent

COMPARED_COLUMNS = ("network", "accuracy", "size", "runtime", "batch of 1", "batch of 64")


def export_lines(done: Exported) -> list[str]:
    """Lines about the file: how it was verified, what stays float32, and its model card."""
    accuracies, found = done.accuracies, ""
    if accuracies:
        found = f"accuracy {percent(accuracies[1])} (network {percent(accuracies[0])}), "
    images = f"all {done.images} {done.compared_on}" if done.real else f"{done.images} {NOISE}"
    lines = [
        f"{done.path}: {byte_count(done.file_bytes)}, written and verified on {images}: {found}"
        f"the classes agree on {percent(done.agreement)}, the logits differ by "
        f"{done.difference:.1e} of the largest"
    ]
    if not done.real:
        lines.append(f"{done.compared_on}; the accuracy is not known")
    if done.report.left_float:
        lines.append(f"in float32 stay {', '.join(done.report.left_float)}")
    return [*lines, f"{done.model_card}: model card"]


def compared_rows(done: Exported, stage: str) -> list[tuple[str, ...]]:
    """The cells of ``COMPARED_COLUMNS``: the network as trained, and the file."""
    accuracies = [percent(each) for each in done.accuracies or ()] or ["-", "-"]
    facts = {
        FLOAT: (accuracies[0], byte_count(done.network_bytes)),
        stage: (accuracies[1], byte_count(done.file_bytes)),
    }
    return [
        (
            each.network,
            *facts[each.network],
            each.runtime,
            f"{each.one.median:.3g} ms",
            f"{each.many.median:.4g} ms",
        )
        for each in done.timings
    ]


def stage_verdict(done: Exported, stage: str, tolerance: float) -> str:
    """Whether the stage's file is recommended, with the numbers that decide it.

    Args:
        tolerance: largest accepted loss of accuracy in percentage points.
    """
    before, after = (100 * each for each in done.accuracies or (0.0, 0.0))
    p_value = paired_p_value([done.network_correct], [done.file_correct])
    loss = f"{after - before:+.1f} points"
    if p_value is not None:
        tie = "a tie" if p_value >= SIGNIFICANT else "a real difference"
        loss += f" ({tie}: p = {p_value:.2g}, McNemar's test on {done.images} images)"
    *_, network, file = done.timings  # the network in the runtime of the file, if it runs there
    faster, many = (network.one.median / file.one.median, network.many.median / file.many.median)
    speed = f"{faster:.1f}x faster" if faster >= 1 else f"{1 / faster:.1f}x slower"
    speed = f"{speed} at batch 1 and {many:.1f}x at batch 64 than in float32 in {network.runtime}"
    if file.runtime == TORCH:
        speed = "not faster (it is computed in float32)"
    facts = f"{done.network_bytes / done.file_bytes:.1f}x smaller, {speed}, accuracy {loss}"
    if before - after > tolerance:
        return f"{stage} is not recommended: it loses more than {tolerance:g} points: {facts}"
    if file.runtime != TORCH and faster * SAME_SPEED < 1:
        return f"{stage} is not recommended: it is slower: {facts}"
    return f"{stage} is recommended: {facts}"
