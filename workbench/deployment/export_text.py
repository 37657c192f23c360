"""Text about an exported file: the comparison, and whether a stage is recommended."""

from __future__ import annotations

from workbench.compression.recipes.recipe_settings import TORCH
from workbench.deployment.export import FLOAT, NOISE, Checked, Exported
from workbench.reporting.statistics import paired_p_value
from workbench.reporting.tables import byte_count, percent
from workbench.reporting.verdict_rules import loss_reason, speed_reason, speed_words, tie_words

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
        lines.append(f"in float32: {', '.join(done.report.left_float)}")
    if done.costs:
        shares = _exit_shares(done)
        lines.append(f"{shares} of the images leave at its exits, from the first to the last")
    if done.check:
        lines.append(_check_line(done.check))
    return [*lines, f"{done.model_card}: model card"]


def _exit_shares(done: Exported) -> str:
    names = (f"exit_{number}_share" for number in range(1, len(done.costs)))
    return ", ".join(percent(done.costs[name], 0) for name in names if name in done.costs)


def _check_line(check: Checked) -> str:
    accuracy = f"accuracy {percent(check.accuracies[1])}, " if check.accuracies else ""
    return (
        f"{check.runtime}: {accuracy}the classes agree on {percent(check.agreement)} with the "
        f"network; {check.here.median:.3g} ms an image ({check.usual.median:.3g} ms in onnxruntime)"
    )


def compared_rows(done: Exported, stage: str) -> list[tuple[str, ...]]:
    """The cells of ``COMPARED_COLUMNS``: the network as trained, and the file."""
    accuracies = [percent(each) for each in done.accuracies or ()] or ["-", "-"]
    facts = {
        FLOAT: (accuracies[0], byte_count(done.network_bytes)),
        stage: (accuracies[1], byte_count(done.file_bytes)),
    }
    if not done.timings:
        return [(name, *cells, "-", "-", "-") for name, cells in facts.items()]
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
    before, after = done.accuracies or (0.0, 0.0)
    accuracy = f"accuracy {100 * (after - before):+.1f} points"
    p_value = paired_p_value([done.network_correct], [done.file_correct])
    if p_value is not None:
        accuracy += f", {tie_words(p_value, done.images)}"
    facts = f"{_gain(done)}, {accuracy}"
    reason = loss_reason(before, after, tolerance) or _slower(done)
    if reason:
        return f"{stage} is not recommended: it {reason}: {facts}"
    return f"{stage} is recommended: {facts}"


def _gain(done: Exported) -> str:
    if done.costs:  # the file saves computation, and is a little larger
        return f"{percent(done.costs['flops_share'])} of the network's FLOPs for a test image"
    return f"{done.network_bytes / done.file_bytes:.1f}x smaller, {_speed(done)}"


def _slower(done: Exported) -> str | None:
    if not done.timings or done.timings[-1].runtime == TORCH:
        return None
    *_, network, file = done.timings  # the network in the runtime of the file
    return speed_reason(network.one, file.one)


def _speed(done: Exported) -> str:
    if not done.timings:
        return "not timed on this kind of processor"
    *_, network, file = done.timings
    if file.runtime == TORCH:
        return "not faster (it is computed in float32)"
    one, many = (network.one.median / file.one.median, network.many.median / file.many.median)
    return (
        f"{speed_words(one)} at batch 1 and {speed_words(many)} at batch 64 (float32 in "
        f"{network.runtime}: {network.one.median:.3g} and {network.many.median:.4g} ms)"
    )
