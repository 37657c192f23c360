"""Odd input that has to be rejected or survived."""

import numpy as np
import pytest

from workbench import pfa


def test_a_filter_that_always_says_the_same_is_inactive_whatever_its_mean_rounds_to():
    seen = pfa.StreamingCovariance(3)
    for _ in range(4):
        seen.update(np.tile([0.1, 0.2, 0.3], (10, 1)))
    assert pfa.inactive_filters(seen.covariance).all()
    np.testing.assert_allclose(seen.mean, [0.1, 0.2, 0.3])


def test_responses_whose_products_overflow_are_rejected():
    with pytest.raises(ValueError, match="NaN or infinity"):
        pfa.StreamingCovariance(2).update([[1, 2], [1e200, 3]])


def test_a_covariance_near_the_largest_number_has_a_spectrum():
    np.testing.assert_allclose(pfa.spectrum(np.eye(3) * 1e308), [1 / 3] * 3)


@pytest.mark.parametrize("keep", [0, -1, 4])
def test_energy_of_a_count_outside_the_layer_is_rejected(keep):
    with pytest.raises(ValueError, match="between 1 and 3"):
        pfa.kept_energy([0.5, 0.3, 0.2], keep)


@pytest.mark.parametrize(
    "matrix", [np.eye(3) * 0.5, np.array([[0.0, 0.3], [0.3, 1.0]]), np.eye(2) * -1]
)
def test_what_is_no_correlation_is_rejected(matrix):
    with pytest.raises(ValueError, match="correlat"):
        pfa.select_filters(matrix, 1)
