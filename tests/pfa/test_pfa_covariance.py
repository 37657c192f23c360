"""StreamingCovariance: one pass, whatever the batches, as exact as two passes."""

from __future__ import annotations

import naive
import numpy as np
import pytest

from workbench.pfa import StreamingCovariance

FILTERS = 5


def responses(samples: int, filters: int = FILTERS, seed: int = 0) -> np.ndarray:
    """Correlated float64 responses, shape (samples, filters)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(samples, filters)) @ rng.normal(size=(filters, filters)) + 1.5


def seen(*batches: np.ndarray) -> StreamingCovariance:
    """A StreamingCovariance that has been given the batches one by one."""
    moments = StreamingCovariance(np.shape(batches[0])[1])
    for batch in batches:
        moments.update(batch)
    return moments


def merged(*parts: StreamingCovariance) -> StreamingCovariance:
    """A new one into which the parts were merged from left to right."""
    total = StreamingCovariance(parts[0].filters)
    for part in parts:
        total.merge(part)
    return total


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """Largest deviation as a share of the largest entry."""
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def test_equals_the_two_pass_transcription() -> None:
    x = responses(23)
    np.testing.assert_allclose(seen(x).covariance, naive.covariance(x), rtol=1e-12)


def test_equals_numpy() -> None:
    x = responses(400, filters=17, seed=1)
    np.testing.assert_allclose(seen(x).covariance, np.cov(x.T), rtol=1e-11, atol=1e-13)


def test_two_samples_by_hand() -> None:
    # Means 2 and 5, deviations -1, 1 and -2, 2; m - 1 is 1.
    np.testing.assert_allclose(seen([[1.0, 3.0], [3.0, 7.0]]).covariance, [[2, 4], [4, 8]])


def test_mean_is_the_mean_of_all_samples() -> None:
    x = responses(31)
    np.testing.assert_allclose(seen(x[:4], x[4:]).mean, x.mean(axis=0), rtol=1e-13)


def test_mean_is_zero_before_the_first_sample() -> None:
    np.testing.assert_array_equal(StreamingCovariance(3).mean, np.zeros(3))


def test_count_is_the_number_of_samples() -> None:
    x = responses(31)
    assert seen(x[:4], x[4:5], x[5:]).count == 31


def test_filters_is_the_width() -> None:
    assert StreamingCovariance(7).filters == 7


@pytest.mark.parametrize("seed", range(10))
def test_splitting_the_batch_changes_nothing(seed: int) -> None:
    x = responses(60, seed=seed)
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, 61, size=rng.integers(1, 12)))  # equal cuts: empty batches
    np.testing.assert_allclose(
        seen(*np.split(x, cuts)).covariance, seen(x).covariance, rtol=1e-11, atol=1e-13
    )


def test_single_samples_change_nothing() -> None:
    x = responses(40)
    one_by_one = seen(*(row[None] for row in x))
    np.testing.assert_allclose(one_by_one.covariance, seen(x).covariance, rtol=1e-11)


def test_order_of_the_samples_changes_nothing() -> None:
    x = responses(40)
    np.testing.assert_allclose(seen(x[::-1]).covariance, seen(x).covariance, rtol=1e-11)


def test_merge_equals_update() -> None:
    x = responses(50)
    np.testing.assert_allclose(
        merged(seen(x[:13]), seen(x[13:])).covariance, seen(x).covariance, rtol=1e-11
    )


def test_merge_is_commutative() -> None:
    a, b = seen(responses(9, seed=1)), seen(responses(70, seed=2) + 30)
    np.testing.assert_allclose(merged(a, b).covariance, merged(b, a).covariance, rtol=1e-12)


def test_merge_is_associative() -> None:
    a, b, c = (seen(responses(m, seed=m) + m) for m in (5, 11, 64))
    np.testing.assert_allclose(
        merged(merged(a, b), c).covariance, merged(a, merged(b, c)).covariance, rtol=1e-12
    )


def test_merging_adds_the_counts() -> None:
    assert merged(seen(responses(9)), seen(responses(70))).count == 79


def test_merging_leaves_the_other_unchanged() -> None:
    other = seen(responses(20, seed=3))
    before = other.count, other.mean, other.covariance
    total = seen(responses(30))
    total.merge(other)
    total.update(responses(8))
    assert other.count == before[0]
    np.testing.assert_array_equal(other.mean, before[1])
    np.testing.assert_array_equal(other.covariance, before[2])


def test_merging_into_an_empty_one_shares_no_memory() -> None:
    first = seen(responses(20))
    before = first.covariance
    merged(first).update(responses(8) + 100)
    np.testing.assert_array_equal(first.covariance, before)


def test_merging_with_itself_is_seeing_everything_twice() -> None:
    x = responses(20)
    moments = seen(x)
    moments.merge(moments)
    np.testing.assert_allclose(moments.covariance, seen(x, x).covariance, rtol=1e-12)


def test_merging_an_empty_one_changes_nothing() -> None:
    moments = seen(responses(20))
    before = moments.covariance
    moments.merge(StreamingCovariance(FILTERS))
    np.testing.assert_array_equal(moments.covariance, before)


def test_merging_two_empty_ones_gives_an_empty_one() -> None:
    assert merged(StreamingCovariance(2), StreamingCovariance(2)).count == 0


def test_an_empty_batch_changes_nothing() -> None:
    moments = seen(responses(20))
    before = moments.covariance
    moments.update(np.empty((0, FILTERS)))
    np.testing.assert_array_equal(moments.covariance, before)


@pytest.mark.parametrize("ratio", [1e4, 1e6])
def test_a_large_mean_costs_no_accuracy(ratio: float) -> None:
    x = responses(300) + ratio * np.array([1, -1, 2, 3, 0.5])
    batched = seen(*np.array_split(x, 7)).covariance
    assert relative_error(batched, np.array(naive.covariance(x))) < 1e-6


@pytest.mark.parametrize("ratio", [1e4, 1e6])
def test_a_large_mean_costs_no_accuracy_when_merging(ratio: float) -> None:
    x = responses(300) + ratio
    parts = [seen(part) for part in np.array_split(x, 7)]
    assert relative_error(merged(*parts).covariance, np.array(naive.covariance(x))) < 1e-6


def test_float32_responses_are_accumulated_in_float64() -> None:
    x = (responses(300) + 1e4).astype(np.float32)
    assert relative_error(seen(x).covariance, np.array(naive.covariance(x))) < 1e-9


def test_shifting_the_responses_changes_nothing() -> None:
    x = responses(50)
    np.testing.assert_allclose(seen(x - 64).covariance, seen(x).covariance, rtol=1e-10)


def test_constant_float32_columns_have_exactly_no_covariance() -> None:
    x = np.tile(np.array([0.1, -7.3, 0.0], dtype=np.float32), (50, 1))
    np.testing.assert_array_equal(seen(x[:17], x[17:]).covariance, np.zeros((3, 3)))


def test_fewer_samples_than_filters_is_fine() -> None:
    x = responses(3, filters=8)
    np.testing.assert_allclose(seen(x).covariance, naive.covariance(x), rtol=1e-11, atol=1e-14)


def test_covariance_is_exactly_symmetric() -> None:
    covariance = seen(*np.array_split(responses(101, filters=33), 6)).covariance
    np.testing.assert_array_equal(covariance, covariance.T)


def test_covariance_is_exactly_symmetric_for_lopsided_moments() -> None:
    moments = StreamingCovariance.from_moments(3, [0, 0], [[1.0, 0.2], [0.4, 1.0]])
    np.testing.assert_allclose(moments.covariance, [[0.5, 0.15], [0.15, 0.5]])


def test_moments_from_elsewhere_equal_an_update() -> None:
    x = responses(20)
    centred = x - x.mean(axis=0)
    moments = StreamingCovariance.from_moments(20, x.mean(axis=0), centred.T @ centred)
    np.testing.assert_allclose(moments.covariance, seen(x).covariance, rtol=1e-12)


def test_moments_from_elsewhere_merge_as_an_update() -> None:
    x = responses(20) + 4
    centred = x - x.mean(axis=0)
    total = seen(responses(9))
    total.merge(StreamingCovariance.from_moments(20, x.mean(axis=0), centred.T @ centred))
    expected = seen(responses(9), x)
    np.testing.assert_allclose(total.covariance, expected.covariance, rtol=1e-12)


def test_moments_from_elsewhere_are_copied() -> None:
    mean, products = np.zeros(2), np.eye(2)
    moments = StreamingCovariance.from_moments(2, mean, products)
    mean += 1
    products += 1
    np.testing.assert_array_equal(moments.mean, [0, 0])
    np.testing.assert_array_equal(moments.covariance, np.eye(2))


def test_writing_to_the_mean_changes_nothing() -> None:
    moments = seen(responses(20))
    before = moments.mean.copy()
    moments.mean[:] = 77
    np.testing.assert_array_equal(moments.mean, before)


def test_writing_to_the_covariance_changes_nothing() -> None:
    moments = seen(responses(20))
    before = moments.covariance
    moments.covariance[:] = 77
    np.testing.assert_array_equal(moments.covariance, before)


def test_the_batch_is_left_unchanged() -> None:
    x = responses(20)
    before = x.copy()
    seen(x)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("samples", [0, 1])
def test_a_covariance_needs_two_samples(samples: int) -> None:
    moments = seen(responses(3)[:samples])
    with pytest.raises(ValueError, match=f"at least 2 samples, not {samples}"):
        _ = moments.covariance


@pytest.mark.parametrize("filters", [0, -1])
def test_no_filters_is_an_error(filters: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1, not {filters}"):
        StreamingCovariance(filters)


@pytest.mark.parametrize("shape", [(4, 3), (4, 1), (2,), (4, 2, 2), ()])
def test_a_batch_of_another_shape_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must have shape \(b, 2\)"):
        StreamingCovariance(2).update(np.ones(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_an_error(value: float) -> None:
    x = responses(20)
    x[11, 3] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        StreamingCovariance(FILTERS).update(x)


def test_a_rejected_batch_changes_nothing() -> None:
    moments = seen(responses(20))
    before = moments.covariance
    with pytest.raises(ValueError, match="NaN"):
        moments.update(np.full((2, FILTERS), np.nan))
    assert moments.count == 20
    np.testing.assert_array_equal(moments.covariance, before)


def test_merging_another_width_is_an_error() -> None:
    with pytest.raises(ValueError, match="cannot merge 3 filters into 2"):
        StreamingCovariance(2).merge(StreamingCovariance(3))


@pytest.mark.parametrize(
    ("count", "mean", "products"),
    [
        (-1, np.zeros(2), np.eye(2)),
        (4, np.zeros(3), np.eye(2)),
        (4, np.zeros(2), np.ones((2, 3))),
        (4, np.zeros((2, 2)), np.eye(2)),
    ],
)
def test_moments_that_do_not_fit_are_an_error(
    count: int, mean: np.ndarray, products: np.ndarray
) -> None:
    with pytest.raises(ValueError, match="moments do not fit"):
        StreamingCovariance.from_moments(count, mean, products)


@pytest.mark.parametrize(
    ("mean", "products"),
    [([np.inf, 0], np.eye(2)), ([0, 0], [[1, np.nan], [np.nan, 1]])],
    ids=["mean", "products"],
)
def test_moments_that_are_not_finite_are_an_error(mean: list, products: list) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        StreamingCovariance.from_moments(4, mean, products)
