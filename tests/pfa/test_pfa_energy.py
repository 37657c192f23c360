"""PFA-En: the smallest number of filters that carries the wanted energy."""

from __future__ import annotations

import naive
import numpy as np
import pytest

from workbench.pfa import energy_keep_count, kept_energy, spectrum

THRESHOLDS = np.linspace(0.01, 1, 100)


def random_spectrum(seed: int) -> np.ndarray:
    """A spectrum of 1 to 60 shares: even, peaked or in between."""
    rng = np.random.default_rng(seed)
    concentration = 10 ** rng.uniform(-1.5, 1)
    return rng.dirichlet(np.full(rng.integers(1, 61), concentration))


def test_ten_equal_eigenvalues_give_8_at_80_percent() -> None:
    assert energy_keep_count(np.full(10, 0.1), 0.8) == 8


@pytest.mark.parametrize("n", [3, 7, 10, 49, 100, 512])
def test_k_of_n_equal_eigenvalues_carry_k_nths(n: int) -> None:
    counts = [energy_keep_count(np.full(n, 1 / n), k / n) for k in range(1, n + 1)]
    assert counts == list(range(1, n + 1))


def test_a_billionth_more_than_8_equal_eigenvalues_carry_takes_9() -> None:
    assert energy_keep_count(np.full(10, 0.1), 0.8 + 1e-9) == 9


@pytest.mark.parametrize(
    ("threshold", "keep"),
    [(0.01, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.76, 3), (0.875, 3), (0.9, 4), (1.0, 4)],
)
def test_halving_shares_by_hand(threshold: float, keep: int) -> None:
    assert energy_keep_count([0.5, 0.25, 0.125, 0.125], threshold) == keep


@pytest.mark.parametrize("seed", range(12))
def test_agrees_with_the_transcription(seed: int) -> None:
    shares = random_spectrum(seed)
    assert [energy_keep_count(shares, t) for t in THRESHOLDS] == [
        naive.energy_keep_count(shares, t) for t in THRESHOLDS
    ]


@pytest.mark.parametrize("seed", range(6))
def test_more_energy_never_keeps_fewer(seed: int) -> None:
    shares = random_spectrum(seed)
    assert (np.diff([energy_keep_count(shares, t) for t in THRESHOLDS]) >= 0).all()


@pytest.mark.parametrize("seed", range(6))
def test_the_kept_carry_enough(seed: int) -> None:
    shares = random_spectrum(seed)
    for threshold in THRESHOLDS:
        keep = energy_keep_count(shares, threshold)
        assert np.sort(shares)[len(shares) - keep :].sum() >= threshold - 1e-11


@pytest.mark.parametrize("seed", range(6))
def test_one_fewer_would_not_carry_enough(seed: int) -> None:
    shares = random_spectrum(seed)
    for threshold in THRESHOLDS:
        fewer = energy_keep_count(shares, threshold) - 1
        assert np.sort(shares)[len(shares) - fewer :].sum() < threshold


def test_the_order_of_the_shares_does_not_matter() -> None:
    shares = np.array([0.1, 0.4, 0.2, 0.3])
    assert energy_keep_count(shares, 0.65) == energy_keep_count(np.sort(shares)[::-1], 0.65) == 2


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_all_of_the_energy_keeps_the_rank(rank: int) -> None:
    shares = np.zeros(9)
    shares[:rank] = 1 / rank
    assert energy_keep_count(shares, 1.0) == rank


@pytest.mark.parametrize("samples", [2, 20, 33])
def test_all_of_the_energy_keeps_the_rank_of_few_samples(samples: int) -> None:
    x = np.random.default_rng(samples).normal(size=(samples, 40))
    assert energy_keep_count(spectrum(np.cov(x.T)), 1.0) == samples - 1


def test_all_of_the_energy_is_reached_though_the_shares_sum_to_a_hair_less() -> None:
    assert energy_keep_count([0.6, 0.4 - 1e-7], 1.0) == 2


def test_a_single_filter_is_kept() -> None:
    assert energy_keep_count([1.0], 0.9) == 1


def test_a_dead_layer_keeps_1() -> None:
    assert energy_keep_count(np.zeros(5), 0.9) == 1


def test_the_least_energy_keeps_1() -> None:
    assert energy_keep_count(np.full(10, 0.1), 1e-300) == 1


def test_the_count_is_an_int() -> None:
    assert type(energy_keep_count([0.5, 0.5], 0.9)) is int


@pytest.mark.parametrize("threshold", [0, -0.1, 1 + 1e-9, 80, np.nan, np.inf])
def test_an_energy_outside_0_to_1_is_an_error(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"the energy must lie in \(0, 1\]"):
        energy_keep_count([0.5, 0.5], threshold)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "at least one value"),
        (0.5, "at least one value"),
        ([[0.5, 0.5]], "at least one value"),
        ([1.1, -0.1], "between 0 and 1"),
        ([1.0, np.nan], "between 0 and 1"),
        ([1.0, np.inf], "between 0 and 1"),
        ([0.5, 0.49], "sums to 1, not to 0.99"),
        ([3.0, 1.0], "sums to 1, not to 4"),
    ],
)
@pytest.mark.parametrize("function", [energy_keep_count, kept_energy])
def test_values_that_are_no_spectrum_are_an_error(function, values, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(values, 1)


def test_kept_energy_by_hand() -> None:
    assert kept_energy([0.1, 0.4, 0.2, 0.3], 2) == pytest.approx(0.7, rel=1e-14)


def test_keeping_all_keeps_all_energy() -> None:
    assert kept_energy(random_spectrum(4), len(random_spectrum(4))) == pytest.approx(1, rel=1e-14)


def test_kept_energy_of_a_dead_layer_is_zero() -> None:
    assert kept_energy(np.zeros(3), 2) == 0


@pytest.mark.parametrize("seed", range(6))
def test_kept_energy_does_not_pass_1(seed: int) -> None:
    shares = random_spectrum(seed) * (1 + 1e-9)
    assert kept_energy(shares, len(shares)) == 1.0


@pytest.mark.parametrize("seed", range(6))
def test_kept_energy_reaches_the_threshold_that_was_asked_for(seed: int) -> None:
    shares = random_spectrum(seed)
    for threshold in THRESHOLDS:
        assert kept_energy(shares, energy_keep_count(shares, threshold)) >= threshold - 2e-12
