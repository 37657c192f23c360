"""PFA-KL: a flat spectrum keeps all filters, a single direction keeps one."""

from __future__ import annotations

import math

import naive
import numpy as np
import pytest

from workbench.pfa import divergence, kl_keep_count, spectrum


def equal(number: int, n: int) -> np.ndarray:
    """A spectrum of n shares of which the first ``number`` are equal and the others zero."""
    shares = np.zeros(n)
    shares[:number] = 1 / number
    return shares


def random_spectrum(seed: int) -> np.ndarray:
    """A spectrum of 2 to 80 shares, peaked or even, some of them zero."""
    rng = np.random.default_rng(seed)
    n = rng.integers(2, 81)
    shares = rng.dirichlet(np.full(n, 10 ** rng.uniform(-1.5, 1.5)))
    shares[: rng.integers(0, n // 2 + 1)] = 0
    return shares / shares.sum()


def test_a_flat_spectrum_keeps_all() -> None:
    widths = range(1, 201)
    assert [kl_keep_count(equal(n, n)) for n in widths] == list(widths)


@pytest.mark.parametrize("n", [512, 1000, 4096])
def test_a_flat_spectrum_of_a_wide_layer_keeps_all(n: int) -> None:
    assert kl_keep_count(equal(n, n)) == n


@pytest.mark.parametrize("n", [1, 2, 3, 64, 4096])
def test_a_single_direction_keeps_1(n: int) -> None:
    assert kl_keep_count(equal(1, n)) == 1


def test_a_single_direction_with_rounding_keeps_1() -> None:
    direction = np.random.default_rng(0).normal(size=50)
    assert kl_keep_count(spectrum(np.outer(direction, direction))) == 1


@pytest.mark.parametrize("n", [1, 2, 50])
def test_a_dead_layer_keeps_1(n: int) -> None:
    assert kl_keep_count(np.zeros(n)) == 1


def test_a_single_filter_is_kept() -> None:
    assert kl_keep_count([1.0]) == 1


@pytest.mark.parametrize(
    ("n", "keep"),
    # ceil(n ln 2 / ln n)
    [(2, 2), (3, 2), (4, 2), (5, 3), (10, 4), (16, 4), (100, 16), (256, 32), (512, 57)],
)
def test_two_equal_directions_by_hand(n: int, keep: int) -> None:
    assert kl_keep_count(equal(2, n)) == keep


@pytest.mark.parametrize("root", [2, 4, 6, 8, 10, 12, 16, 22, 40, 64, 68])
def test_the_square_root_of_n_equal_directions_keep_exactly_half(root: int) -> None:
    # gamma = ln sqrt(n) / ln n = 1/2: rounding must not push n / 2 over the ceiling.
    assert kl_keep_count(equal(root, root**2)) == root**2 // 2


@pytest.mark.parametrize(("root", "power"), [(3, 3), (12, 3), (15, 3), (5, 5), (7, 4), (3, 6)])
def test_any_root_of_n_equal_directions_keeps_that_share_rounded_up(root: int, power: int) -> None:
    # gamma = 1 / power. (12, 3), (15, 3) and (5, 5) round to a hair over a whole number.
    assert kl_keep_count(equal(root, root**power)) == -(-(root**power) // power)


def test_a_millionth_of_evenness_more_is_rounded_up() -> None:
    shares = (1 - 1e-6) * equal(4, 16) + 1e-6 * equal(16, 16)
    assert kl_keep_count(shares) == 9


@pytest.mark.parametrize(("evenness", "keep"), [(1e-10, 2048), (2e-10, 2049)])
def test_the_ceiling_has_a_relative_slack_of_1e_9(evenness: float, keep: int) -> None:
    # gamma n is 2048 times 1 + 0.67e-9 and 1 + 1.30e-9.
    shares = (1 - evenness) * equal(64, 4096) + evenness * equal(4096, 4096)
    assert kl_keep_count(shares) == keep


def test_the_count_is_rounded_up_not_to_the_nearest() -> None:
    # H(0.9, 0.1) / ln 2 = 0.469: 0.469 of 2 is 0.94; H(0.85, 0.15) / ln 2 = 0.610: 1.22.
    assert [kl_keep_count([0.9, 0.1]), kl_keep_count([0.85, 0.15])] == [1, 2]


def test_agrees_with_the_transcription() -> None:
    spectra = [random_spectrum(seed) for seed in range(300)]
    assert [kl_keep_count(shares) for shares in spectra] == [
        naive.kl_keep_count(shares) for shares in spectra
    ]


@pytest.mark.parametrize("seed", range(8))
def test_mixing_toward_flat_never_keeps_fewer(seed: int) -> None:
    shares = random_spectrum(seed)
    flat = equal(len(shares), len(shares))
    counts = [kl_keep_count((1 - t) * shares + t * flat) for t in np.linspace(0, 1, 41)]
    assert (np.diff(counts) >= 0).all()


def test_the_order_of_the_shares_does_not_matter() -> None:
    shares = random_spectrum(7)
    assert kl_keep_count(shares[::-1]) == kl_keep_count(np.sort(shares)) == kl_keep_count(shares)


def test_the_count_is_an_int() -> None:
    assert type(kl_keep_count([0.5, 0.5])) is int


def test_divergence_by_hand() -> None:
    # 3/4 ln(3/4 / 1/2) + 1/4 ln(1/4 / 1/2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert divergence([0.75, 0.25]) == pytest.approx(expected, rel=1e-13)


def test_divergence_agrees_with_the_transcription() -> None:
    spectra = [random_spectrum(seed) for seed in range(100)]
    np.testing.assert_allclose(
        [divergence(shares) for shares in spectra],
        [naive.divergence(shares) for shares in spectra],
        rtol=1e-11,
        atol=1e-13,
    )


@pytest.mark.parametrize("n", [2, 7, 64, 1000])
def test_divergence_of_a_flat_spectrum_is_zero(n: int) -> None:
    assert divergence(equal(n, n)) == pytest.approx(0, abs=1e-13)


@pytest.mark.parametrize("n", [1, 2, 7, 64, 1000])
def test_divergence_of_a_single_direction_is_ln_n(n: int) -> None:
    assert divergence(equal(1, n)) == math.log(n)


@pytest.mark.parametrize("n", [1, 2, 64])
def test_divergence_of_a_dead_layer_is_ln_n(n: int) -> None:
    assert divergence(np.zeros(n)) == math.log(n)


def test_divergence_is_not_negative() -> None:
    # Unclipped, some of these flat spectra round to -1e-16.
    assert min(divergence(equal(n, n)) for n in range(1, 200)) >= 0


def test_divergence_lies_between_0_and_ln_n() -> None:
    for seed in range(100):
        shares = random_spectrum(seed)
        assert 0 <= divergence(shares) <= math.log(len(shares)), f"seed {seed}"


@pytest.mark.parametrize("values", [[], [[0.5, 0.5]], [1.1, -0.1], [1.0, np.nan], [3.0, 1.0]])
@pytest.mark.parametrize("function", [kl_keep_count, divergence])
def test_values_that_are_no_spectrum_are_an_error(function, values: list) -> None:
    with pytest.raises(ValueError, match="a spectrum"):
        function(values)
