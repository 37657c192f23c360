"""The verdict: the recommended network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from workbench.reporting.results import SAME_SPEED, SIGNIFICANT, ProtocolResult, Verdict
from workbench.reporting.statistics import paired_p_value


def judge(results: Sequence[ProtocolResult], tolerance: float, prefer: str = "speed") -> Verdict:
    """Recommend a network whose mean accuracy is close enough to the best.

    A network that a stage made is refused if it is slower than the network it was made from, or if
    it loses more than the tolerance.

    Args:
        results: results of at least one protocol, and of the stages after them.
        tolerance: largest accepted difference to the best, in percentage points, 0 to 100.
        prefer: "speed" recommends the fastest network within the tolerance, "size" the smallest.
            "accuracy" recommends the fastest of those that the test images cannot tell from the
            best.
    """
    trained = [result for result in results if not result.stage]
    refused = _refused(results, tolerance)
    possible = [result for result in results if result.label not in refused]
    levels = {result.label: _level(result, trained) for result in possible}
    best = max(possible, key=lambda result: levels[result.label])
    if prefer == "accuracy":
        good = [each for each in possible if each is best or is_tie(each, best)]
    else:
        # 1e-9 tolerates rounding: 0.98 must count as within 0.01 of 0.99.
        enough = levels[best.label] - tolerance / 100 - 1e-9
        good = [each for each in possible if levels[each.label] >= enough]
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
        refused,
    )


def is_tie(one: ProtocolResult, other: ProtocolResult) -> bool:
    """Whether the test images cannot tell two accuracies apart; False if that is unknown."""
    p_value = paired_p_value(one.correct, other.correct)
    return one.accuracy_mean == other.accuracy_mean or (
        p_value is not None and p_value >= SIGNIFICANT
    )


def _refused(results: Sequence[ProtocolResult], tolerance: float) -> dict[str, str]:
    """The reason against each network of a stage that must not be recommended."""
    trained = {result.protocol: result for result in results if not result.stage}
    reasons = {}
    for result in results:
        origin = trained.get(result.protocol)
        if not result.stage or origin is None:
            continue
        same = _same_seeds(origin, result)
        lost = 100 * (same.accuracy_mean - result.accuracy_mean)
        if lost > tolerance + 1e-7:
            reasons[result.label] = (
                f"loses {lost:.1f} points ({100 * result.accuracy_mean:.1f} % after "
                f"{100 * same.accuracy_mean:.1f} %), more than the tolerance of {tolerance:g}"
            )
        elif result.timing and origin.timing and result.runtime != origin.runtime:
            now, before = result.timing[0].median, origin.timing[0].median
            if now > before * SAME_SPEED:
                reasons[result.label] = (
                    f"is {now / before:.1f}x slower than in float32 ({now:.3g} ms after "
                    f"{before:.3g} ms)"
                )
    return reasons


def _level(result: ProtocolResult, trained: Sequence[ProtocolResult]) -> float:
    """The mean accuracy by which a network is judged.

    If a stage was applied to some of the seeds only, these may be the better or the worse ones. Its
    level is then that of all trained networks plus the difference on the same seeds.
    """
    origin = next((each for each in trained if each.protocol == result.protocol), None)
    if not result.stage or origin is None:
        return result.accuracy_mean
    same = _same_seeds(origin, result)
    return origin.accuracy_mean + result.accuracy_mean - same.accuracy_mean


def _same_seeds(origin: ProtocolResult, staged: ProtocolResult) -> ProtocolResult:
    """The origin over the seeds that the stage was applied to."""
    places = [origin.run_ids.index(run) for run in staged.origins if run in origin.run_ids]
    if len(places) != len(staged.hits):
        return origin
    return replace(origin, hits=tuple(origin.hits[place] for place in places))


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
