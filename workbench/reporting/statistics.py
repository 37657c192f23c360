"""Intervals of accuracies, over seeds and over images."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CONFIDENCE = 0.95
_POWER = 0.8


@dataclass(frozen=True)
class PairedTest:
    """A paired t-test of differences.

    Attributes:
        mean, low, high: mean difference and its 95 % interval.
        pairs: number of differences.
        p_value: two-sided, of the hypothesis that the mean difference is 0.
        detectable: the smallest mean difference that a test of so many pairs with this spread
            finds significant with a probability of 80 %, by the approximation
            (t_(1 - a/2) + t_0.8) s / sqrt(n) with the level a = 0.05 / number of comparisons.
    """

    mean: float
    low: float
    high: float
    pairs: int
    p_value: float
    detectable: float


def paired_t_test(differences: Sequence[float], comparisons: int = 1) -> PairedTest | None:
    """Test whether the mean of differences is 0; None if their spread is unknown.

    Args:
        differences: of independent pairs; at least two of them must differ.
        comparisons: number of tests for which the p-values are corrected.
    """
    if len({round(each, 9) for each in differences}) < 2:
        return None
    from scipy.stats import t

    mean, pairs = statistics.fmean(differences), len(differences)
    error = statistics.stdev(differences) / math.sqrt(pairs)
    half = _student_half(differences)
    p_value = float(2 * t.sf(abs(mean) / error, pairs - 1))
    level = (1 - _CONFIDENCE) / comparisons
    reach = float(t.ppf(1 - level / 2, pairs - 1) + t.ppf(_POWER, pairs - 1))
    return PairedTest(mean, mean - half, mean + half, pairs, p_value, reach * error)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number by Holm's step-down procedure.

    Returns:
        The corrected p-values, in the same order: the chance of one or more false rejections among
        all of them is at most the level at which they are compared.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


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
