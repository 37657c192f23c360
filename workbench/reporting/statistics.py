"""Intervals of accuracies, over seeds and over images."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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


def paired_p_value(
    one: Sequence[NDArray[np.bool_]], other: Sequence[NDArray[np.bool_]]
) -> float | None:
    """p-value of the hypothesis that two networks are right equally often on these images.

    With one seed each, this is McNemar's exact test. With several seeds, an image counts by the
    difference of the two mean hit rates over the seeds: under the hypothesis its sign is random, so
    the sum over the images has a known distribution, which is computed exactly. The test says
    nothing about other seeds.

    Args:
        one, other: for each seed, which images are classified correctly, shape (images,).

    Returns:
        The two-sided p-value; None if one has no seeds or the numbers of images differ.
    """
    if not one or not other or len({len(seed) for seed in (*one, *other)}) != 1:
        return None
    # Differences of means, times both numbers of seeds: whole numbers.
    weights = len(other) * np.sum(one, axis=0) - len(one) * np.sum(other, axis=0)
    weights //= max(1, np.gcd.reduce(weights))
    total, spread = abs(int(weights.sum())), np.ones(1)
    for size, count in zip(
        *np.unique(np.abs(weights[weights != 0]), return_counts=True), strict=True
    ):
        spread = np.convolve(spread, _signs(int(size), int(count)))
    sums = np.arange(len(spread)) - len(spread) // 2
    return float(min(1.0, spread[np.abs(sums) >= total].sum()))


def _signs(size: int, count: int) -> NDArray[np.float64]:
    """Distribution of the sum of ``count`` numbers that are each ``size`` or ``-size``."""
    from scipy.stats import binom

    positions = np.zeros(2 * size * count + 1)
    positions[:: 2 * size] = binom.pmf(np.arange(count + 1), count, 0.5)
    return positions


def wilson_interval(hits: int, images: int) -> tuple[float, float]:
    """95 % interval of a share, by Wilson's score."""
    from scipy.stats import binomtest

    interval = binomtest(hits, images).proportion_ci(_CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
