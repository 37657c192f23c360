"""Text about an exported file: what was compared, and whether a stage is worth it."""

from __future__ import annotations

from workbench.deployment.export import Exported
from workbench.reporting.results import SAME_SPEED, SIGNIFICANT
from workbench.reporting.statistics import paired_p_value
from workbench.reporting.tables import byte_count, percent

COMPARED_COLUMNS = ("network", "accuracy", "size", "runtime", "batch of 1", "batch of 64")


def export_lines(done: Exported) -> list[str]:
    """Lines about the file: how it was verified, what stays float32, and its model card."""
    accuracies = done.accuracies
    found = (
        f"accuracy {percent(accuracies[1])} (network {percent(accuracies[0])}), "
        if accuracies
        else ""
    )
    images = (
        f"all {done.images} {done.compared_on}" if done.real else f"{done.images} {NO_ACCURACY}"
    )
    lines = [
        f"{done.path}: {byte_count(done.file_bytes)}, written and verified on {images}: {found}"
        f"the classes agree on {percent(done.agreement)}, the logits differ by "
        f"{done.difference:.1e} of the largest"
    ]
    if not done.real:
        lines.append(f"{done.compared_on}: the accuracy is not known")
    if done.report.left_float:
        lines.append(f"in float32 stay {', '.join(done.report.left_float)}")
    return [*lines, f"{done.model_card}: model card"]


NO_ACCURACY = "noise images"


def compared_rows(done: Exported, stage: str) -> list[tuple[str, ...]]:
    """The cells of ``COMPARED_COLUMNS``: the network as trained, and the file."""
    accuracies = [percent(each) for each in done.accuracies or ()] or ["-", "-"]
    sizes = (done.network_bytes, done.file_bytes)
    rows = []
    for name, accuracy, size, (runtime, (one, many)) in zip(
        ("float32", stage), accuracies, sizes, done.timings.items(), strict=True
    ):
        times = (f"{one.median:.3g} ms", f"{many.median:.4g} ms")
        rows.append((name, accuracy, byte_count(size), runtime, *times))
    return rows


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
    (_, (slow, _)), (_, (fast, _)) = done.timings.items()
    smaller = f"{done.network_bytes / done.file_bytes:.1f}x smaller"
    faster = slow.median / fast.median
    speed = f"{faster:.1f}x faster" if faster >= 1 else f"{1 / faster:.1f}x slower"
    facts = f"{smaller}, {speed} at batch 1, accuracy {loss}"
    if before - after > tolerance:
        return f"{stage} is not recommended: it loses more than {tolerance:g} points: {facts}"
    if faster * SAME_SPEED < 1:
        return f"{stage} is not recommended: it is slower: {facts}"
    return f"{stage} is recommended: {facts}"
