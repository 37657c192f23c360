"""Paired t-tests, their power, and Holm's correction."""

import numpy as np
import pytest
from scipy import stats

from workbench.reporting.statistics import holm, paired_t_test


def test_the_paired_test_is_the_t_test_of_scipy():
    differences = np.random.default_rng(0).normal(0.4, 1.0, 12)
    found = paired_t_test(differences)
    theirs = stats.ttest_1samp(differences, 0)
    low, high = theirs.confidence_interval(0.95)
    assert found.p_value == pytest.approx(theirs.pvalue)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert (found.mean, found.pairs) == (pytest.approx(differences.mean()), 12)


def test_turning_the_differences_around_turns_the_result_around():
    differences = [0.5, -0.2, 1.1, 0.3]
    one, other = paired_t_test(differences), paired_t_test([-each for each in differences])
    assert one.p_value == pytest.approx(other.p_value)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


@pytest.mark.parametrize("differences", [[], [1.0], [0.5, 0.5, 0.5]])
def test_without_a_spread_there_is_no_test(differences):
    assert paired_t_test(differences) is None


def test_a_difference_as_large_as_the_detectable_one_is_found_four_times_in_five():
    drawing, pairs = np.random.default_rng(1), 16
    standard = stats.t.ppf(0.975, pairs - 1) + stats.t.ppf(0.8, pairs - 1)
    samples = drawing.normal(standard / pairs**0.5, 1.0, (4000, pairs))
    found = np.mean(stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05)
    assert found == pytest.approx(0.8, abs=0.03)
    sample = paired_t_test(samples[0])
    spread = samples[0].std(ddof=1)
    assert sample.detectable == pytest.approx(standard * spread / pairs**0.5)


def naive_holm(p_values):
    """By definition: reject step by step at level / (number that are left)."""
    corrected = {}
    left = dict(enumerate(p_values))
    floor = 0.0
    while left:
        place = min(left, key=left.get)
        floor = max(floor, min(1.0, left[place] * len(left)))
        corrected[place] = floor
        del left[place]
    return [corrected[place] for place in range(len(p_values))]


def test_holm_is_its_definition_and_keeps_the_order():
    drawing = np.random.default_rng(2)
    for number in range(6):
        p_values = drawing.uniform(0, 0.4, number).tolist()
        found = holm(p_values)
        assert found == pytest.approx(naive_holm(p_values))
        assert all(one >= p for one, p in zip(found, p_values, strict=True))
        assert np.argsort(found, kind="stable").tolist() == np.argsort(p_values).tolist() or (
            len(set(found)) < len(found)
        )
    assert holm([0.01]) == [0.01]
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
