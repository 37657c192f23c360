"""Removed responses predicted from kept ones, compared with least squares on the samples."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.pfa import RIDGES, choose_ridge, predict_removed, squared_error

KEPT, REMOVED = np.array([0, 2, 3, 5]), np.array([1, 4])


def draw(samples: int = 60, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(samples, 6)) @ rng.normal(size=(6, 6)) + 1


def slow_prediction(rows: np.ndarray, ridge: float) -> np.ndarray:
    """Ridge regression as least squares with extra samples, one removed response at a time."""
    kept = rows[:, KEPT]
    strength = ridge * np.mean(np.sum(kept**2, axis=0))
    padded = np.vstack([kept, np.sqrt(strength) * np.eye(len(KEPT))])
    wanted = [np.append(rows[:, one], np.zeros(len(KEPT))) for one in REMOVED]
    return np.array([np.linalg.lstsq(padded, each, rcond=None)[0] for each in wanted])


@pytest.mark.parametrize("ridge", RIDGES)
def test_the_prediction_is_that_of_least_squares(ridge):
    rows = draw()
    (found,) = predict_removed(rows.T @ rows, KEPT, REMOVED, [ridge])
    np.testing.assert_allclose(found, slow_prediction(rows, ridge), rtol=1e-6, atol=1e-9)


def test_the_error_is_that_of_the_outputs():
    rows, weight = draw(), np.random.default_rng(1).normal(size=(3, 2))
    prediction = slow_prediction(rows, 0.1)
    outputs = (rows[:, REMOVED] - rows[:, KEPT] @ prediction.T) @ weight.T
    found = squared_error(rows.T @ rows, KEPT, REMOVED, prediction, weight)
    assert found == pytest.approx(np.sum(outputs**2))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ridge", RIDGES)
def test_no_output_gets_worse(seed, ridge):
    rows = draw(seed=seed)
    gram = rows.T @ rows
    (prediction,) = predict_removed(gram, KEPT, REMOVED, [ridge])
    for weight in np.random.default_rng(seed).normal(size=(4, 1, 2)):
        without = squared_error(gram, KEPT, REMOVED, np.zeros((2, 4)), weight)
        assert squared_error(gram, KEPT, REMOVED, prediction, weight) <= without * (1 + 1e-12)


def test_scaling_a_layer_changes_nothing():
    rows = draw()
    one, other = (
        predict_removed((scale * rows).T @ (scale * rows), KEPT, REMOVED, [1e-3])[0]
        for scale in (1, 1e4)
    )
    np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("samples", [2, 60])
def test_a_multiple_of_a_kept_response_is_predicted_by_that_one_alone(samples):
    rows = draw(samples)
    rows[:, 1], rows[:, 4] = 2 * rows[:, 0], rows[:, 5]
    wanted = [[2, 0, 0, 0], [0, 0, 0, 1]]
    for found in predict_removed(rows.T @ rows, KEPT, REMOVED, RIDGES):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=0)


def test_what_can_be_predicted_wants_a_weak_ridge_and_what_cannot_none():
    rows = draw()
    rows[:, 1], rows[:, 4] = rows[:, 0] + rows[:, 2], rows[:, 3] - rows[:, 5]
    halves = (rows[::2].T @ rows[::2], rows[1::2].T @ rows[1::2])
    ridge = choose_ridge(halves, KEPT, REMOVED, np.eye(2))
    assert ridge is not None
    assert ridge <= 1e-6
    (prediction,) = predict_removed(halves[0] + halves[1], KEPT, REMOVED, [ridge])
    np.testing.assert_allclose(prediction, [[1, 1, 0, 0], [0, 0, 1, -1]], atol=1e-4)
    noise = np.random.default_rng(0).normal(size=(12, 6))
    noise[6:, REMOVED] = -noise[:6, KEPT[:2]]  # what one half teaches is wrong on the other
    noise[:6, REMOVED], noise[6:, KEPT] = noise[:6, KEPT[:2]], noise[:6, KEPT]
    apart = tuple(part.T @ part for part in (noise[:6], noise[6:]))
    assert choose_ridge(apart, KEPT, REMOVED, np.eye(2)) is None


def test_the_ridge_is_the_best_on_the_other_half():
    """With few noisy samples, the weakest ridge is the best on the own half."""
    rows = draw(14, seed=4) + np.random.default_rng(4).normal(size=(14, 6))
    halves = (rows[::2], rows[1::2])
    errors = [
        sum(
            np.sum((other[:, REMOVED] - other[:, KEPT] @ slow_prediction(own, ridge).T) ** 2)
            for own, other in (halves, halves[::-1])
        )
        for ridge in RIDGES
    ]
    wanted = RIDGES[int(np.argmin(errors))]
    assert wanted > RIDGES[-1]
    grams = (halves[0].T @ halves[0], halves[1].T @ halves[1])
    assert choose_ridge(grams, KEPT, REMOVED, np.eye(2)) == wanted
    many = np.vstack([np.eye(2), np.zeros((3, 2))])  # more outputs than removed responses
    assert choose_ridge(grams, KEPT, REMOVED, many) == wanted


def test_dead_and_broken_responses():
    gram = np.zeros((6, 6))
    gram[1, 1] = 1.0
    assert not predict_removed(gram, KEPT, REMOVED, [1.0])[0].any()
    assert choose_ridge((gram, gram), KEPT, REMOVED, np.eye(2)) is None
    gram[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        predict_removed(gram, KEPT, REMOVED, [1.0])
