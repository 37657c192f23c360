"""The spectrum: eigenvalues as shares, blind to scale, order and rotation."""

from __future__ import annotations

import naive
import numpy as np
import pytest

from workbench.pfa import spectrum


def random_covariance(filters: int, seed: int = 0) -> np.ndarray:
    """A covariance of full rank."""
    mixing = np.random.default_rng(seed).normal(size=(filters, filters))
    return mixing @ mixing.T


def random_rotation(filters: int, seed: int) -> np.ndarray:
    """An orthogonal matrix."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(filters, filters)))[0]


def responses(samples: int, filters: int, seed: int = 0) -> np.ndarray:
    """Correlated responses, shape (samples, filters)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(samples, filters)) @ rng.normal(size=(filters, filters))


def test_of_a_diagonal_covariance_it_is_the_sorted_diagonal() -> None:
    np.testing.assert_allclose(spectrum(np.diag([1.0, 6.0, 3.0])), [0.6, 0.3, 0.1], rtol=1e-14)


def test_of_two_filters_by_hand() -> None:
    # [[2, 1], [1, 2]] (1, 1) = 3 (1, 1) and [[2, 1], [1, 2]] (1, -1) = 1 (1, -1)
    np.testing.assert_allclose(spectrum([[2.0, 1.0], [1.0, 2.0]]), [0.75, 0.25], rtol=1e-14)


def test_of_the_identity_it_is_flat() -> None:
    np.testing.assert_allclose(spectrum(np.eye(8)), np.full(8, 1 / 8), rtol=1e-14)


def test_of_one_direction_it_is_a_single_1() -> None:
    direction = np.array([1.0, -2.0, 3.0, 0.5])
    np.testing.assert_allclose(spectrum(np.outer(direction, direction)), [1, 0, 0, 0], atol=1e-15)


def test_of_equally_correlated_filters_by_hand() -> None:
    # (1 - r) I + r 1 1^T has the eigenvalue 1 + (n - 1) r once and 1 - r else.
    covariance = np.full((5, 5), 0.3) + 0.7 * np.eye(5)
    np.testing.assert_allclose(spectrum(covariance), [2.2 / 5, *[0.7 / 5] * 4], rtol=1e-13)


def test_of_a_single_filter_it_is_1() -> None:
    np.testing.assert_array_equal(spectrum([[0.37]]), [1.0])


def test_of_a_dead_layer_it_is_zero() -> None:
    np.testing.assert_array_equal(spectrum(np.zeros((3, 3))), np.zeros(3))


def test_of_a_dead_single_filter_it_is_zero() -> None:
    np.testing.assert_array_equal(spectrum([[0.0]]), [0.0])


@pytest.mark.parametrize("seed", range(6))
def test_recovers_the_eigenvalues_of_a_rotated_diagonal(seed: int) -> None:
    shares = np.sort(np.random.default_rng(seed).dirichlet(np.ones(7)))[::-1]
    rotation = random_rotation(7, seed)
    covariance = rotation @ np.diag(5 * shares) @ rotation.T
    np.testing.assert_allclose(spectrum(covariance), shares, rtol=1e-10)


@pytest.mark.parametrize("seed", range(6))
def test_each_share_times_the_trace_solves_the_characteristic_equation(seed: int) -> None:
    covariance = random_covariance(6, seed)
    for share in spectrum(covariance):
        singular = covariance - share * np.trace(covariance) * np.eye(6)
        assert np.linalg.svd(singular, compute_uv=False)[-1] < 1e-12 * np.trace(covariance)


def test_is_the_squared_singular_values_of_the_centred_responses() -> None:
    x = responses(40, 9)
    energy = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
    np.testing.assert_allclose(spectrum(np.cov(x.T)), energy / energy.sum(), rtol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_the_transcription(seed: int) -> None:
    covariance = random_covariance(12, seed)
    np.testing.assert_allclose(spectrum(covariance), naive.spectrum(covariance), rtol=1e-9)


@pytest.mark.parametrize("filters", [1, 2, 17, 64])
def test_sums_to_1(filters: int) -> None:
    assert spectrum(random_covariance(filters)).sum() == pytest.approx(1, abs=1e-14)


def test_descends() -> None:
    assert (np.diff(spectrum(random_covariance(30))) <= 0).all()


def test_has_one_share_for_each_filter() -> None:
    assert spectrum(np.cov(responses(5, 12).T)).shape == (12,)


@pytest.mark.parametrize("factor", [1e-200, 1e-9, 1e9, 1e200])
def test_scaling_changes_nothing(factor: float) -> None:
    covariance = random_covariance(8)
    np.testing.assert_allclose(spectrum(factor * covariance), spectrum(covariance), rtol=1e-9)


def test_permuting_the_filters_changes_nothing() -> None:
    covariance = random_covariance(8)
    order = np.random.default_rng(5).permutation(8)
    np.testing.assert_allclose(
        spectrum(covariance[np.ix_(order, order)]), spectrum(covariance), rtol=1e-9
    )


@pytest.mark.parametrize("seed", range(4))
def test_rotating_the_responses_changes_nothing(seed: int) -> None:
    covariance = random_covariance(8)
    rotation = random_rotation(8, seed)
    np.testing.assert_allclose(
        spectrum(rotation @ covariance @ rotation.T), spectrum(covariance), atol=1e-13
    )


def test_adding_inactive_filters_adds_zeros() -> None:
    covariance = random_covariance(5)
    padded = np.zeros((8, 8))
    padded[1:6, 1:6] = covariance
    np.testing.assert_allclose(spectrum(padded), [*spectrum(covariance), 0, 0, 0], atol=1e-14)


@pytest.mark.parametrize("samples", [2, 5, 11])
def test_with_fewer_samples_than_filters_the_missing_shares_are_zero(samples: int) -> None:
    shares = spectrum(np.cov(responses(samples, 12).T))
    assert (shares[samples - 1 :] < 1e-14).all()


@pytest.mark.parametrize("samples", [2, 5, 11])
def test_with_fewer_samples_than_filters_the_others_are_not(samples: int) -> None:
    shares = spectrum(np.cov(responses(samples, 12).T))
    assert (shares[: samples - 1] > 1e-6).all()


def test_negative_eigenvalues_are_clipped_before_the_sum() -> None:
    np.testing.assert_array_equal(spectrum(np.diag([3.0, 1.0, -1e-3])), [0.75, 0.25, 0.0])


def test_no_share_is_negative() -> None:
    # Rounding gives this covariance of rank 2 negative eigenvalues.
    assert (spectrum(np.cov(responses(3, 40).T)) >= 0).all()


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_covariance_is_left_unchanged(order: str) -> None:
    covariance = np.array(random_covariance(4), order=order)  # LAPACK could work in an "F" one
    before = covariance.copy()
    spectrum(covariance)
    np.testing.assert_array_equal(covariance, before)


@pytest.mark.parametrize("shape", [(2, 3), (4,), (2, 2, 2), (0, 0)])
def test_a_matrix_that_is_not_square_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected a square matrix"):
        spectrum(np.ones(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_matrix_that_is_not_finite_is_an_error(value: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        spectrum([[1.0, value], [value, 1.0]])
