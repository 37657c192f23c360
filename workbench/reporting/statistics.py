"""Intervals of accuracies, over seeds and over images."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

_CONFIDENCE = 0.95


def student_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of at least two values in [0, 1], by Student's t."""
    mean, half = statistics.fmean(values), _student_half(values)
    return max(0.0, mean - half), min(1.0, mean + half)


def paired_interval(one: Sequence[float], other: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean difference of accuracies over the same seeds, by Student's t.

    None if the spread is unknown: with one seed, or when all seeds have the same difference.

    Args:
        one, other: accuracies in [0, 1] of the same seeds, in the same order.
    """
    apart = [a - b for a, b in zip(one, other, strict=True)]
    if len({round(each, 9) for each in apart}) < 2:
        return None
    mean, half = statistics.fmean(apart), _student_half(apart)
    return mean - half, mean + half


def _student_half(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of the mean of at least two values."""
    from scipy.stats import t

    error = statistics.stdev(values) / math.sqrt(len(values))
    return float(t.ppf((1 + _CONFIDENCE) / 2, len(values) - 1)) * error


def wilson_interval(hits: int, images: int) -> tuple[float, float]:
    """95 % interval of a share, by Wilson's score."""
    from scipy.stats import binomtest

    interval = binomtest(hits, images).proportion_ci(_CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
