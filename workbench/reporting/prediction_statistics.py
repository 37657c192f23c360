"""Statistics of predictions: confusion matrices, calibration, and where two networks differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.training.predictions import Predictions

BINS = 10


@dataclass(frozen=True)
class CalibrationBin:
    """The answers whose probability is within one bin.

    Attributes:
        images: number of answers, at least one.
        confidence: their mean probability, in [0, 1].
        accuracy: share of them that is correct, in [0, 1].
    """

    images: int
    confidence: float
    accuracy: float


def confusion(found: Sequence[Predictions], classes: int) -> NDArray[np.int64]:
    """Count the answers by class, over all seeds.

    Returns:
        Shape (classes, classes): rows are the classes of the images, columns the answers.
    """
    counts = np.zeros((classes, classes), dtype=np.int64)
    for each in found:
        np.add.at(counts, (each.labels, each.answers), 1)
    return counts


def most_confused(counts: NDArray[np.int64], most: int) -> list[int]:
    """The classes with the most wrong answers, to and from them, in the order of the classes."""
    wrong = counts - np.diag(np.diagonal(counts))
    errors = wrong.sum(axis=0) + wrong.sum(axis=1)
    return sorted(np.argsort(-errors, kind="stable")[:most].tolist())


def calibration(found: Sequence[Predictions]) -> list[CalibrationBin]:
    """The bins of the reliability diagram that have answers, over all seeds.

    The bins divide the probabilities from 0 to 1 into ten equal parts.
    """
    confidence = np.concatenate([each.confidence for each in found]).astype(np.float64)
    correct = np.concatenate([each.correct for each in found])
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        CalibrationBin(
            int(inside.sum()), float(confidence[inside].mean()), float(correct[inside].mean())
        )
        for inside in (places == place for place in range(BINS))
        if inside.any()
    ]


def expected_calibration_error(found: Sequence[Predictions]) -> float:
    """Mean distance of accuracy and confidence over the bins, weighted by answers, in [0, 1]."""
    bins = calibration(found)
    answers = sum(each.images for each in bins)
    return sum(each.images * abs(each.accuracy - each.confidence) for each in bins) / answers


def only_first_right(one: Predictions, other: Predictions, most: int) -> tuple[list[int], int]:
    """Images that only the first network classifies correctly.

    Returns:
        Indices of at most ``most`` images, those first whose wrong answer has the highest
        probability; and the number of all such images.
    """
    differing = np.flatnonzero(one.correct & ~other.correct)
    order = np.argsort(-other.confidence[differing], kind="stable")
    return differing[order][:most].tolist(), len(differing)
