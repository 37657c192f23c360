"""The verdict: the recommended network."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.reporting.results import ProtocolResult, Verdict
from workbench.reporting.statistics import paired_p_value
from workbench.reporting.verdict_rules import (
    SAME_SPEED,
    SIGNIFICANT,
    loss_reason,
    speed_reason,
)


def judge(results: Sequence[ProtocolResult], tolerance: float, prefer: str = "speed") -> Verdict:
    """Recommend a network whose mean accuracy is close enough to the best.

    A stage's network is rejected if it is slower at batch 1 than its float32 network, if it loses
    more than the tolerance, or if some seeds are missing.

    Args:
        results: results of at least one protocol, and of the stages after them.
        tolerance: largest accepted difference to the best, in percentage points, 0 to 100.
        prefer: "speed" recommends the fastest network within the tolerance, "size" the smallest.
            "accuracy" recommends the fastest of those that the test images cannot tell from the
            best. Of equally fast networks, the smallest is recommended.
    """
    trained = [result for result in results if not result.stage]
    rejected = _rejected(results, tolerance)
    possible = [result for result in results if result.label not in rejected]
    best = max(possible, key=lambda result: result.accuracy_mean)
    if prefer == "accuracy":
        good = [each for each in possible if each is best or is_tie(each, best)]
    else:
        # 1e-9 tolerates rounding: 0.98 must count as within 0.01 of 0.99.
        enough = best.accuracy_mean - tolerance / 100 - 1e-9
        good = [each for each in possible if each.accuracy_mean >= enough]
    recommended = _smallest(good if prefer == "size" else _fastest(good))
    full = [result for result in trained if not result.compressed]
    small = [result for result in trained if result.compressed]
    return Verdict(
        recommended,
        best,
        _most_accurate(full),
        _most_accurate(small),
        tolerance,
        prefer,
        None if recommended is best else paired_p_value(recommended.correct, best.correct),
        rejected,
    )


def is_tie(one: ProtocolResult, other: ProtocolResult) -> bool:
    """Whether the test images cannot tell two accuracies apart; False if that is unknown."""
    p_value = paired_p_value(one.correct, other.correct)
    return one.accuracy_mean == other.accuracy_mean or (
        p_value is not None and p_value >= SIGNIFICANT
    )


def _rejected(results: Sequence[ProtocolResult], tolerance: float) -> dict[str, str]:
    """The reason against each network of a stage that must not be recommended."""
    trained = {result.protocol: result for result in results if not result.stage}
    reasons = {}
    for result in results:
        origin = trained.get(result.protocol)
        if not result.stage or origin is None:
            continue
        reason = _reason(origin, result, tolerance)
        if reason:
            reasons[result.label] = reason
    return reasons


def _reason(origin: ProtocolResult, staged: ProtocolResult, tolerance: float) -> str | None:
    if len(staged.hits) < len(origin.hits):  # they may be the better or the worse seeds
        return (
            f"was made for {len(staged.hits)} of {len(origin.hits)} seeds only, because the "
            "weights of the others were not kept; --fresh trains them again, and 'workbench "
            "quantize' evaluates one network"
        )
    reason = loss_reason(origin.accuracy_mean, staged.accuracy_mean, tolerance)
    if reason or not staged.timing or not origin.timing or staged.runtime == origin.runtime:
        return reason
    return speed_reason(origin.timing[0], staged.timing[0])


def _fastest(results: Sequence[ProtocolResult]) -> list[ProtocolResult]:
    """The fastest networks; several if their times are nearly equal."""
    times = [_time(result, results) for result in results]
    return [
        result
        for result, time in zip(results, times, strict=True)
        if time <= min(times) * SAME_SPEED
    ]


def _time(result: ProtocolResult, results: Sequence[ProtocolResult]) -> float:
    """The time of an image, measured as it is for all results; FLOPs without measurements."""
    if all(each.timing for each in results):
        assert result.timing is not None
        return result.timing[0].median
    if all(each.latency_ms is not None for each in results):
        assert result.latency_ms is not None
        return result.latency_ms
    return float(result.flops)


def _smallest(results: Sequence[ProtocolResult]) -> ProtocolResult:
    sized = all(result.file_bytes is not None for result in results)
    return min(
        results,
        key=lambda result: (
            result.file_bytes if sized else result.parameters,
            -result.accuracy_mean,
        ),
    )


def _most_accurate(results: Sequence[ProtocolResult]) -> ProtocolResult | None:
    return max(results, key=lambda result: result.accuracy_mean, default=None)
