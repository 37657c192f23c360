"""Which filters are kept: the greedy removal of the most redundant one, and its ties."""

from __future__ import annotations

from collections.abc import Callable

import naive
import numpy as np
import pytest

from workbench.pfa import correlation, select_filters

SEEDS = range(8)


def symmetric(n: int, **pairs: float) -> np.ndarray:
    """A correlation of n filters with ``r01=0.5`` between filters 0 and 1, and so on."""
    rho = np.eye(n)
    for name, value in pairs.items():
        i, j = int(name[1]), int(name[2])
        rho[i, j] = rho[j, i] = value
    return rho


def independent(rng: np.random.Generator, n: int) -> np.ndarray:
    """Correlation of a finite sample of independent responses: small, and without ties."""
    return np.corrcoef(rng.normal(size=(n, 3 * n)))


def dependent(rng: np.random.Generator, n: int) -> np.ndarray:
    """Correlation of responses that share three factors: large, of both signs."""
    factors = rng.normal(size=(n, 3)) @ rng.normal(size=(3, 200))
    return np.corrcoef(factors + rng.normal(size=(n, 200)))


def duplicated(rng: np.random.Generator, n: int) -> np.ndarray:
    """Every filter is a copy of one of n // 2, some with the other sign."""
    copies = rng.integers(0, max(n // 2, 2), size=n)
    signs = rng.choice([-1.0, 1.0], size=n)
    return independent(rng, max(n // 2, 2))[np.ix_(copies, copies)] * np.outer(signs, signs)


def inactive(rng: np.random.Generator, n: int) -> np.ndarray:
    """About a third of the filters do not respond."""
    active = rng.random(n) > 1 / 3
    return dependent(rng, n) * np.outer(active, active)


def blocks(rng: np.random.Generator, n: int) -> np.ndarray:
    """Blocks of three filters, each its own correlation, with nothing between the blocks."""
    rho = np.eye(n)
    for start in range(0, n - 2, 3):
        rho[start : start + 3, start : start + 3] = independent(rng, 3)
    return rho


def equal_blocks(rng: np.random.Generator, n: int) -> np.ndarray:
    """Filters of one class share one correlation, those of two classes another: all tie."""
    classes = rng.integers(0, 4, size=n)
    rho = np.where(classes[:, None] == classes, 0.7, 0.1)
    np.fill_diagonal(rho, 1.0)
    return rho


def rounded(rng: np.random.Generator, n: int) -> np.ndarray:
    """Correlations in tenths: sums tie on paper, and differ in the last bit on a machine."""
    return np.round(dependent(rng, n), 1)


def identity(rng: np.random.Generator, n: int) -> np.ndarray:
    """Nothing is correlated."""
    return np.eye(n)


def ones(rng: np.random.Generator, n: int) -> np.ndarray:
    """All filters are the same."""
    return np.ones((n, n))


FAMILIES = [
    independent,
    dependent,
    duplicated,
    inactive,
    blocks,
    equal_blocks,
    rounded,
    identity,
    ones,
]


def without_ties(seed: int, n: int = 25) -> np.ndarray:
    """A correlation in which only the last two filters tie (their sums are one number)."""
    return dependent(np.random.default_rng(seed), n)


def kept(rho: np.ndarray, keep: int) -> list[int]:
    return select_filters(rho, keep).tolist()


# --- against the transcription -------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_agrees_with_the_transcription(
    family: Callable[[np.random.Generator, int], np.ndarray], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 41))
    rho = family(rng, n)
    order = naive.removal_order(rho)
    for keep in range(1, n + 1):
        assert kept(rho, keep) == sorted(order[n - keep :])


@pytest.mark.parametrize("n", range(2, 7))
def test_agrees_with_the_transcription_on_few_filters_with_many_ties(n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(60):
        upper = np.triu(rng.choice([0.0, 0.25, -0.25, 0.5], size=(n, n)), 1)
        rho = upper + upper.T + np.eye(n)
        for keep in range(1, n):
            assert kept(rho, keep) == naive.select_filters(rho, keep)


def test_agrees_with_sums_taken_anew_on_600_filters_in_tied_blocks() -> None:
    # Thirty filters, each twenty times over: every sum ties with nineteen others.
    rho = np.kron(dependent(np.random.default_rng(0), 30), np.ones((20, 20)))
    order = naive.removal_order_of_many(rho)
    for keep in (1, 30, 150, 580):
        assert kept(rho, keep) == sorted(order[600 - keep :])


def test_agrees_with_sums_taken_anew_on_600_filters_in_equal_blocks() -> None:
    rho = equal_blocks(np.random.default_rng(0), 600)
    order = naive.removal_order_of_many(rho)
    for keep in (1, 5, 450):
        assert kept(rho, keep) == sorted(order[600 - keep :])


@pytest.mark.parametrize("seed", range(6))
def test_the_last_two_of_300_filters_tie_and_the_lower_one_goes(seed: int) -> None:
    # Both their sums are |rho_ij|; what 298 subtractions rounded off must not decide.
    rho = np.corrcoef(np.random.default_rng(seed).normal(size=(300, 1000)))
    assert kept(rho, 1) == kept(rho, 2)[1:]


def test_the_vectorised_transcription_agrees_with_the_plain_one() -> None:
    rho = rounded(np.random.default_rng(1), 35)
    assert naive.removal_order_of_many(rho) == naive.removal_order(rho)


# --- by hand -------------------------------------------------------------------------------


def test_the_largest_sum_goes() -> None:
    # Sums .3 .6 .5.
    assert kept(symmetric(3, r01=0.2, r02=0.1, r12=0.4), 2) == [0, 2]


def test_sums_are_of_absolute_values() -> None:
    # With its signs filter 0 would sum to 0.
    assert kept(symmetric(3, r01=0.5, r02=-0.5, r12=0.1), 2) == [1, 2]


def test_sums_run_over_the_remaining_filters_only() -> None:
    # Filter 0 goes first (1.3) and takes with it what 1 and 2 had in common with it: then the
    # pair 3, 4 is the most redundant, which at first it was not.
    rho = symmetric(5, r01=0.7, r02=0.6, r34=0.5, r12=0.1)
    assert kept(rho, 4) == [1, 2, 3, 4]
    assert kept(rho, 3) == [1, 2, 4]


def test_oracle_sums_that_tie_and_tie_again_drop_the_lower_index() -> None:
    # Sums .75 .65 1 1; the highest single value of both 2 and 3 is the .5 between them.
    rho = symmetric(4, r01=0.2, r02=0.3, r03=0.25, r12=0.2, r13=0.25, r23=0.5)
    assert kept(rho, 3) == [0, 1, 3]


def test_oracle_sums_that_tie_drop_filter_3_by_its_highest_single_value() -> None:
    # Sums .75 .65 1 1; 2 has at most .45, 3 has .5 (as has 0, which is not in the tie).
    rho = symmetric(4, r01=0.0, r02=0.25, r03=0.5, r12=0.45, r13=0.2, r23=0.3)
    assert kept(rho, 3) == [0, 1, 2]


def test_oracle_sums_that_tie_drop_filter_2_by_its_highest_single_value() -> None:
    # Sums .75 .65 1 1; 3 has at most .45, 2 has .5.
    rho = symmetric(4, r01=0.0, r02=0.5, r03=0.25, r12=0.2, r13=0.45, r23=0.3)
    assert kept(rho, 3) == [0, 1, 3]


def test_a_highest_single_value_counts_only_among_tied_sums() -> None:
    # Sums .5 .5 .6 .6 .6: the highest value, between 0 and 1, is not in the tie.
    rho = symmetric(5, r01=0.5, r23=0.3, r24=0.3, r34=0.3)
    assert kept(rho, 4) == [0, 1, 3, 4]


def test_the_highest_single_value_is_of_the_remaining_filters() -> None:
    # 0 goes first (1.2) and takes the .6 of 1 with it; then 1 and 4 tie at .5, of which 1 has
    # at most .25 and 4 has .4.
    rho = symmetric(6, r01=0.6, r02=0.3, r03=0.3, r12=0.25, r13=0.25, r45=0.4, r24=0.1)
    assert kept(rho, 5) == [1, 2, 3, 4, 5]
    assert kept(rho, 4) == [1, 2, 3, 5]


def test_two_filters_tie_and_the_second_is_kept() -> None:
    assert kept(symmetric(2, r01=0.3), 1) == [1]


def test_uncorrelated_filters_go_from_the_lowest_index() -> None:
    assert kept(np.eye(6), 2) == [4, 5]


def test_identical_filters_go_from_the_lowest_index() -> None:
    assert kept(np.ones((6, 6)), 2) == [4, 5]


@pytest.mark.parametrize("sign", [1, -1])
def test_of_two_identical_filters_the_first_goes_first(sign: int) -> None:
    rho = independent(np.random.default_rng(0), 6) * 0.2
    np.fill_diagonal(rho, 1.0)
    rho[5], rho[:, 5] = rho[2], rho[:, 2]
    rho[5, 5] = 1.0
    rho[2, 5] = rho[5, 2] = sign
    assert kept(rho, 5) == [0, 1, 3, 4, 5]


# --- how equal is equal --------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
def test_sums_within_1e_12_tie(scale: float) -> None:
    # 3 has the larger sum by 2e-13; as that is a tie, the higher single value of 0 decides.
    rho = _two_triangles(scale, 0.4, 0.35 + 0.75 * 2e-13)
    assert kept(rho, 5) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
def test_sums_that_differ_by_more_do_not_tie(scale: float) -> None:
    rho = _two_triangles(scale, 0.4, 0.35 + 0.75 * 5e-12)
    assert kept(rho, 5) == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_single_values_within_1e_12_tie(scale: float) -> None:
    more = 0.5 * 2e-13
    assert kept(_two_triangles(scale, 0.5 + more, 0.25 - more), 5) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_single_values_that_differ_by_more_do_not_tie(scale: float) -> None:
    more = 0.5 * 5e-12
    assert kept(_two_triangles(scale, 0.5 + more, 0.25 - more), 5) == [0, 1, 2, 4, 5]


def _two_triangles(scale: float, r34: float, r35: float) -> np.ndarray:
    """Filter 0 sums to .75 with a highest single value of .5; 3 rivals it as told."""
    pairs = {"r01": 0.5, "r02": 0.25, "r12": 0.125, "r34": r34, "r35": r35, "r45": 0.125}
    return symmetric(6, **{name: scale * value for name, value in pairs.items()})


# --- laws ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_permuting_the_filters_permutes_the_answer(seed: int) -> None:
    rho = without_ties(seed)
    order = np.random.default_rng(seed + 100).permutation(25)
    for keep in (2, 5, 12, 20, 24):
        assert sorted(order[select_filters(rho[np.ix_(order, order)], keep)]) == kept(rho, keep)


@pytest.mark.parametrize("seed", SEEDS)
def test_flipping_filters_changes_nothing(seed: int) -> None:
    rho = without_ties(seed)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=25)
    assert kept(rho * np.outer(signs, signs), 10) == kept(rho, 10)


@pytest.mark.parametrize("seed", SEEDS)
def test_weakening_all_correlations_alike_changes_nothing(seed: int) -> None:
    rho = without_ties(seed)
    weaker = np.where(np.eye(25) > 0, 1.0, rho / 16)
    assert kept(weaker, 10) == kept(rho, 10)


@pytest.mark.parametrize("family", FAMILIES)
def test_keeping_fewer_keeps_some_of_the_same(family: Callable) -> None:
    rho = family(np.random.default_rng(3), 20)
    for keep in range(1, 20):
        assert set(kept(rho, keep)) < set(kept(rho, keep + 1))


@pytest.mark.parametrize("family", FAMILIES)
def test_keeping_all_keeps_all(family: Callable) -> None:
    assert kept(family(np.random.default_rng(3), 20), 20) == list(range(20))


@pytest.mark.parametrize("family", FAMILIES)
def test_as_many_as_asked_for_are_kept_in_ascending_order(family: Callable) -> None:
    rho = family(np.random.default_rng(3), 20)
    for keep in range(1, 21):
        indices = select_filters(rho, keep)
        assert indices.shape == (keep,)
        assert (np.diff(indices) > 0).all()


def test_an_uncorrelated_filter_outlives_correlated_ones() -> None:
    rho = dependent(np.random.default_rng(0), 12)
    rho[4] = rho[:, 4] = 0.0
    rho[4, 4] = 1.0
    # Down to two: then the sums of both are 0, and the lower index goes.
    assert [4 in kept(rho, keep) for keep in range(2, 13)] == [True] * 11


def test_the_matrix_is_made_symmetric_first() -> None:
    rho = 0.6 * without_ties(0)
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, size=(25, 25))
    np.fill_diagonal(rho, 1.0)
    for keep in range(1, 26):
        assert kept(rho + noise - noise.T, keep) == kept(rho, keep)


def test_the_matrix_is_left_unchanged() -> None:
    rho = without_ties(0)
    before = rho.copy()
    select_filters(rho, 5)
    np.testing.assert_array_equal(rho, before)


def test_a_list_of_lists_will_do() -> None:
    assert kept([[1.0, 0.3], [0.3, 1.0]], 1) == [1]


def test_the_only_filter_is_kept() -> None:
    assert kept([[1.0]], 1) == [0]


# --- inactive filters ----------------------------------------------------------------------


def test_inactive_filters_go_before_identical_ones() -> None:
    rho = np.ones((5, 5))
    rho[[1, 3]] = 0
    rho[:, [1, 3]] = 0
    assert kept(rho, 3) == [0, 2, 4]


def test_inactive_filters_go_from_the_lowest_index() -> None:
    rho = np.diag([0.0, 1.0, 0.0, 1.0, 0.0])
    assert [kept(rho, keep) for keep in (4, 3, 2)] == [[1, 2, 3, 4], [1, 3, 4], [1, 3]]


def test_after_the_inactive_filters_the_most_redundant_goes() -> None:
    rho = np.zeros((4, 4))
    rho[1:, 1:] = symmetric(3, r01=0.2, r02=0.1, r12=0.4)
    assert kept(rho, 2) == [1, 3]


def test_keeping_more_than_are_active_keeps_the_last_inactive_ones() -> None:
    rho = np.diag([0.0, 1.0, 0.0, 0.0, 0.0])
    assert kept(rho, 3) == [1, 3, 4]


@pytest.mark.parametrize("keep", [1, 3])
def test_of_a_dead_layer_the_last_are_kept(keep: int) -> None:
    assert kept(np.zeros((5, 5)), keep) == [0, 1, 2, 3, 4][5 - keep :]


def test_a_filter_that_barely_responds_goes_first() -> None:
    # Through the covariance: 1e-5 of the others' spread, and uncorrelated with them.
    covariance = np.full((4, 4), 0.9) + 0.1 * np.eye(4)
    covariance[2] = covariance[:, 2] = 0.0
    covariance[2, 2] = 1e-10
    assert kept(correlation(covariance), 3) == [0, 1, 3]


# --- errors --------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, -1, 4])
def test_keeping_none_or_more_than_there_are_is_an_error(keep: int) -> None:
    with pytest.raises(ValueError, match=f"between 1 and 3, not {keep}"):
        select_filters(np.eye(3), keep)


@pytest.mark.parametrize("shape", [(2, 3), (4,), (2, 2, 2), (0, 0)])
def test_a_matrix_that_is_not_square_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected a square matrix"):
        select_filters(np.ones(shape), 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_matrix_that_is_not_finite_is_an_error(value: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        select_filters([[1.0, value], [value, 1.0]], 1)


@pytest.mark.parametrize("value", [1.001, -1.001, 40])
def test_a_value_beyond_1_is_an_error(value: float) -> None:
    with pytest.raises(ValueError, match="between -1 and 1"):
        select_filters([[1.0, value], [value, 1.0]], 1)


def test_a_covariance_is_not_a_correlation() -> None:
    with pytest.raises(ValueError, match="between -1 and 1"):
        select_filters(np.diag([4.0, 9.0]), 1)
