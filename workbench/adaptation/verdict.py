"""The verdict: the recommended network."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.reporting.results import ProtocolResult, Verdict


def judge(results: Sequence[ProtocolResult], tolerance: float) -> Verdict:
    """Recommend the smallest network whose mean accuracy is close enough to the best.

    Args:
        results: results of at least one protocol.
        tolerance: largest accepted difference to the best, in percentage points, 0 to 100.
    """
    best = max(results, key=lambda result: result.accuracy_mean)
    # 1e-9 tolerates rounding: 0.98 must count as within 0.01 of 0.99.
    enough = best.accuracy_mean - tolerance / 100 - 1e-9
    good = [result for result in results if result.accuracy_mean >= enough]
    recommended = min(good, key=lambda result: (result.parameters, -result.accuracy_mean))
    full = [result for result in results if not result.compressed]
    small = [result for result in results if result.compressed]
    return Verdict(recommended, best, _most_accurate(full), _most_accurate(small), tolerance)


def _most_accurate(results: Sequence[ProtocolResult]) -> ProtocolResult | None:
    return max(results, key=lambda result: result.accuracy_mean, default=None)
