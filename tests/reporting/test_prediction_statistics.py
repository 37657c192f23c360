"""Confusion, calibration and differing images follow their definitions."""

import numpy as np
import pytest

from workbench.reporting.prediction_statistics import (
    calibration,
    confusion,
    expected_calibration_error,
    most_confused,
    only_first_right,
)
from workbench.training.predictions import Predictions


def made(images=500, classes=6, seed=0):
    drawing = np.random.default_rng(seed)
    labels, answers = drawing.integers(0, classes, (2, images))
    shares = drawing.uniform(0.2, 1.0, images).astype(np.float32)
    return Predictions(labels, answers[:, None], shares[:, None], shares)


def test_a_confusion_matrix_counts_every_answer_once():
    one, other = made(seed=1), made(seed=2)
    counts = confusion([one, other], 6)
    assert counts.sum() == 1000
    assert np.trace(counts) == one.correct.sum() + other.correct.sum()
    assert counts[2, 4] == sum(
        int(((each.labels == 2) & (each.answers == 4)).sum()) for each in (one, other)
    )


def test_the_most_confused_classes_have_the_most_errors():
    counts = np.diag([9, 9, 9, 9])
    counts[1, 3] = 5
    assert most_confused(counts, 2) == [1, 3]
    assert most_confused(counts, 9) == [0, 1, 2, 3]


def test_a_network_that_is_right_as_often_as_it_says_has_no_calibration_error():
    labels = np.zeros(1000, dtype=np.int64)
    answers = np.arange(1000) % 4 // 3  # three of four are right
    shares = np.full(1000, 0.75, dtype=np.float32)
    found = Predictions(labels, answers[:, None], shares[:, None], shares)
    assert expected_calibration_error([found]) == pytest.approx(0.0)
    surer = Predictions(labels, answers[:, None], shares[:, None] + 0.2, shares)
    assert expected_calibration_error([surer]) == pytest.approx(0.2, abs=1e-6)


def test_the_bins_hold_all_answers_and_the_error_is_its_definition():
    found = [made(seed=3), made(seed=4)]
    bins = calibration(found)
    assert sum(each.images for each in bins) == 1000
    confidence = np.concatenate([each.confidence for each in found]).astype(float)
    correct = np.concatenate([each.correct for each in found])
    error = 0.0
    for low in np.arange(10) / 10:
        inside = (confidence >= low) & (confidence < low + 0.1 + (low > 0.85))
        if inside.any():
            error += inside.sum() * abs(correct[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(found) == pytest.approx(error / 1000, abs=1e-3)


def test_differing_images_are_right_for_the_first_only_and_the_surest_errors_come_first():
    one, other = made(seed=5), made(seed=5)
    wrong = Predictions(other.labels, (other.classes + 1) % 6, other.probabilities, other.of_label)
    places, number = only_first_right(one, wrong, 7)
    assert number == int((one.correct & ~wrong.correct).sum())
    assert len(places) == 7
    assert one.correct[places].all()
    assert not wrong.correct[places].any()
    assert sorted(wrong.confidence[places], reverse=True) == wrong.confidence[places].tolist()
