"""The paired test of two networks on the same images."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from workbench.reporting.statistics import paired_p_value


def hits(text):
    return np.array([each == "1" for each in text])


def brute_force(one, other):
    """Flip the sign of every image's difference in all possible ways."""
    differences = np.mean(one, axis=0) - np.mean(other, axis=0)
    changed = differences[differences != 0]
    sums = [np.dot(signs, changed) for signs in itertools.product((-1, 1), repeat=len(changed))]
    return np.mean(np.abs(sums) >= abs(changed.sum()) - 1e-12)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (3, 3), (9, 1), (0, 6), (40, 20)])
def test_with_one_seed_it_is_mcnemars_exact_test(gained, lost):
    one = hits("1" * gained + "0" * lost + "1" * 10 + "0" * 5)
    other = hits("0" * gained + "1" * lost + "1" * 10 + "0" * 5)
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert paired_p_value([one], [other]) == pytest.approx(expected)


@pytest.mark.parametrize(("seeds", "others"), [(2, 2), (3, 1), (2, 3)])
def test_with_several_seeds_it_is_the_sign_flip_test_over_images(seeds, others):
    rng = np.random.default_rng(seeds)
    one = list(rng.random((seeds, 12)) < 0.8)
    other = list(rng.random((others, 12)) < 0.5)
    assert paired_p_value(one, other) == pytest.approx(brute_force(one, other))


def test_it_does_not_depend_on_the_order_of_networks_or_images():
    rng = np.random.default_rng(0)
    one, other = list(rng.random((2, 50)) < 0.9), list(rng.random((2, 50)) < 0.7)
    order = rng.permutation(50)
    p_value = paired_p_value(one, other)
    assert paired_p_value(other, one) == pytest.approx(p_value)
    shuffled = paired_p_value([seed[order] for seed in one], [seed[order] for seed in other])
    assert shuffled == pytest.approx(p_value)


def test_equal_networks_are_a_tie_and_different_image_sets_no_test():
    same = [hits("1101")]
    assert paired_p_value(same, same) == 1
    assert paired_p_value(same, [hits("110")]) is None
    assert paired_p_value(same, []) is None


def test_many_images_stay_exact():
    one, other = np.ones(10_000, bool), np.ones(10_000, bool)
    one[:150], other[150:250] = False, False
    assert paired_p_value([one], [other]) == pytest.approx(binomtest(100, 250).pvalue, rel=1e-6)
