"""Inactive filters and the Pearson correlation of the others."""

from __future__ import annotations

import naive
import numpy as np
import pytest

from workbench.pfa import correlation, inactive_filters


def random_covariance(filters: int, seed: int = 0) -> np.ndarray:
    """A covariance of full rank whose variances differ a hundredfold and more."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(filters, filters)) * np.logspace(0, 1, filters)[:, None]
    return mixing @ mixing.T


def with_inactive(covariance: np.ndarray, *filters: int) -> np.ndarray:
    """The covariance after the responses of some filters have become constant."""
    covariance = covariance.copy()
    covariance[list(filters)] = 0
    covariance[:, list(filters)] = 0
    return covariance


def test_a_share_of_1e_8_is_inactive() -> None:
    np.testing.assert_array_equal(inactive_filters(np.diag([1.0, 1e-8])), [False, True])


def test_a_hair_more_than_1e_8_is_active() -> None:
    above = np.nextafter(1e-8, 1)
    np.testing.assert_array_equal(inactive_filters(np.diag([1.0, above])), [False, False])


def test_the_share_is_of_the_largest_variance() -> None:
    variances = [2e-8, 5e-6, 0.1, 1e3]
    np.testing.assert_array_equal(inactive_filters(np.diag(variances)), [True, True, False, False])


def test_in_a_dead_layer_all_are_inactive() -> None:
    assert inactive_filters(np.zeros((4, 4))).all()


def test_in_a_layer_of_tiny_responses_none_is_inactive() -> None:
    assert not inactive_filters(1e-200 * random_covariance(4)).any()


def test_a_single_filter_that_varies_is_active() -> None:
    np.testing.assert_array_equal(inactive_filters([[1e-30]]), [False])


@pytest.mark.parametrize("power", [-300, -20, 20, 300])
def test_scale_does_not_change_who_is_inactive(power: int) -> None:
    # Powers of two scale without rounding: the filter on the threshold stays on it.
    covariance = np.diag([1.0, 1e-8, np.nextafter(1e-8, 1), 0.0])
    np.testing.assert_array_equal(
        inactive_filters(covariance * 2.0**power), [False, True, False, True]
    )


def test_inactive_agrees_with_the_transcription() -> None:
    covariance = np.diag(np.logspace(-12, 2, 57))
    np.testing.assert_array_equal(inactive_filters(covariance), naive.inactive(covariance))


def test_correlation_by_hand() -> None:
    np.testing.assert_allclose(correlation([[4.0, 3.0], [3.0, 9.0]]), [[1, 0.5], [0.5, 1]])


@pytest.mark.parametrize("seed", range(8))
def test_correlation_agrees_with_the_transcription(seed: int) -> None:
    covariance = with_inactive(random_covariance(9, seed), seed)
    np.testing.assert_allclose(
        correlation(covariance), naive.correlation(covariance), rtol=1e-12, atol=1e-14
    )


def test_correlation_of_responses_agrees_with_numpy() -> None:
    x = np.random.default_rng(3).normal(size=(6, 40))
    np.testing.assert_allclose(correlation(np.cov(x)), np.corrcoef(x), rtol=1e-12)


def test_the_diagonal_of_active_filters_is_exactly_1() -> None:
    np.testing.assert_array_equal(np.diagonal(correlation(random_covariance(30))), np.ones(30))


def test_correlation_is_exactly_symmetric() -> None:
    rho = correlation(random_covariance(30))
    np.testing.assert_array_equal(rho, rho.T)


def test_correlation_of_proportional_filters_does_not_pass_1() -> None:
    # Unclipped, many of these values round to 1.0000000000000002.
    gain = np.random.default_rng(0).uniform(-9, 9, size=60)
    assert np.abs(correlation(np.outer(gain, gain))).max() == 1.0


def test_proportional_filters_are_fully_correlated() -> None:
    gain = np.array([1.0, -3.0, 0.2])
    np.testing.assert_allclose(
        correlation(np.outer(gain, gain)), np.outer(np.sign(gain), np.sign(gain)), rtol=1e-15
    )


def test_an_inactive_filter_has_a_zero_row() -> None:
    rho = correlation(with_inactive(random_covariance(5), 2))
    np.testing.assert_array_equal(rho[2], np.zeros(5))


def test_an_inactive_filter_has_a_zero_column() -> None:
    rho = correlation(with_inactive(random_covariance(5), 2))
    np.testing.assert_array_equal(rho[:, 2], np.zeros(5))


def test_a_filter_below_the_threshold_is_zeroed_though_it_follows_another() -> None:
    # Fully correlated, but 1e-5 of the spread is 1e-10 of the variance.
    gain = np.array([1.0, 1e-5])
    np.testing.assert_array_equal(correlation(np.outer(gain, gain)), [[1, 0], [0, 0]])


def test_an_inactive_filter_does_not_disturb_the_others() -> None:
    covariance = random_covariance(5)
    others = [0, 1, 3, 4]
    rho = correlation(with_inactive(covariance, 2))
    np.testing.assert_array_equal(
        rho[np.ix_(others, others)], correlation(covariance)[np.ix_(others, others)]
    )


def test_the_correlation_of_a_dead_layer_is_zero() -> None:
    np.testing.assert_array_equal(correlation(np.zeros((3, 3))), np.zeros((3, 3)))


def test_the_correlation_of_a_single_filter_is_1() -> None:
    np.testing.assert_array_equal(correlation([[0.3]]), [[1.0]])


def test_flipping_a_filter_flips_its_correlations() -> None:
    covariance = random_covariance(6)
    flip = np.array([1, 1, -1, 1, 1, 1])
    signs = np.outer(flip, flip)
    np.testing.assert_array_equal(correlation(covariance * signs), correlation(covariance) * signs)


@pytest.mark.parametrize("factor", [1e-200, 1e-6, 1e6, 1e200])
def test_scaling_the_layer_changes_no_correlation(factor: float) -> None:
    covariance = random_covariance(6)
    np.testing.assert_allclose(
        correlation(factor * covariance), correlation(covariance), rtol=1e-13
    )


def test_scaling_each_filter_by_itself_changes_no_correlation() -> None:
    covariance = random_covariance(6)
    gain = np.array([10, 7, 3, 1, 0.5, 0.2])
    np.testing.assert_allclose(
        correlation(np.outer(gain, gain) * covariance), correlation(covariance), rtol=1e-13
    )


def test_permuting_the_filters_permutes_the_correlation() -> None:
    covariance = random_covariance(6)
    order = np.array([4, 0, 5, 2, 1, 3])
    np.testing.assert_array_equal(
        correlation(covariance[np.ix_(order, order)]), correlation(covariance)[np.ix_(order, order)]
    )


def test_the_covariance_is_left_unchanged() -> None:
    covariance = random_covariance(4)
    before = covariance.copy()
    correlation(covariance)
    np.testing.assert_array_equal(covariance, before)


@pytest.mark.parametrize("function", [correlation, inactive_filters])
@pytest.mark.parametrize("shape", [(2, 3), (4,), (2, 2, 2), (0, 0)])
def test_a_matrix_that_is_not_square_is_an_error(function, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected a square matrix"):
        function(np.ones(shape))


@pytest.mark.parametrize("function", [correlation, inactive_filters])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_matrix_that_is_not_finite_is_an_error(function, value: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        function([[1.0, value], [value, 1.0]])
