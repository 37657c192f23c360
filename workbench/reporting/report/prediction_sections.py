"""Sections about single test images: confusion matrices, differing images, calibration."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.reporting.prediction_statistics import (
    calibration,
    confusion,
    expected_calibration_error,
    most_confused,
    only_first_right,
)
from workbench.reporting.report.charts import reliability
from workbench.reporting.report.page import (
    Cell,
    Chart,
    Matrix,
    MatrixPair,
    Picture,
    Pictures,
    Section,
    Table,
    View,
)
from workbench.reporting.tables import ADAPT_DECIMALS, percent
from workbench.training.predictions import Predictions

#: Classes of a confusion matrix; with more, the page would be too large to read.
MOST_CLASSES = 20
#: Images for each direction.
MOST_IMAGES = 12
_LARGEST_SIDE = 96  # pixels of an embedded image
_SHOWN_WIDTH = 150
_LONGEST_NAME = 40  # characters of a class under an image


@dataclass(frozen=True)
class AnsweredNetwork:
    """The answers of one network.

    Attributes:
        label: name of the network.
        found: its predictions for each seed, in the order of the seeds.
    """

    label: str
    found: Sequence[Predictions]


@dataclass(frozen=True)
class Answers:
    """The answers of all networks of an adaptation.

    Attributes:
        networks: those with recorded predictions.
        full, small: labels of the full and the small network that are compared.
        classes: names of the classes.
        split: what the images are, "test" or "validation".
    """

    networks: Sequence[AnsweredNetwork]
    full: str
    small: str
    classes: Sequence[str]
    split: str = "test"

    def of(self, label: str) -> AnsweredNetwork | None:
        """The network of that name; None if it has no recorded predictions."""
        return next((each for each in self.networks if each.label == label), None)


def confusion_section(answers: Answers) -> Section:
    """Confusion matrices of two networks beside each other; all networks can be chosen."""
    labels = [each.label for each in answers.networks]
    left, right = (
        labels.index(label) if label in labels else 0 for label in (answers.full, answers.small)
    )
    counts = [confusion(each.found, len(answers.classes)) for each in answers.networks]
    shown = most_confused(counts[left] + counts[right], MOST_CLASSES)
    matrices = [
        _matrix(each, own, shown, answers.classes)
        for each, own in zip(answers.networks, counts, strict=True)
    ]
    lines = [
        f"Answers for the {answers.split} images, summed over the seeds of a network: rows are the "
        "classes of the images, columns the answers. The stronger the colour of a cell, the larger "
        "its share of the row."
    ]
    return Section("confusion", "Confusion matrices", lines, [MatrixPair(matrices, left, right)])


def _matrix(
    network: AnsweredNetwork, counts: NDArray[np.int64], shown: list[int], classes: Sequence[str]
) -> Matrix:
    part = counts[np.ix_(shown, shown)]
    remark = ""
    if len(shown) < len(classes):
        remark = (
            f"The {len(shown)} of {len(classes)} classes with the most errors; "
            f"{int(counts[shown].sum() - part.sum())} answers for them were other classes."
        )
    seeds = f" ({len(network.found)} seeds)" if len(network.found) > 1 else ""
    label, names = f"{network.label}{seeds}", [classes[place] for place in shown]
    return Matrix(label, names, part.tolist(), remark)


def calibration_section(answers: Answers) -> Section:
    """Reliability diagram of the full and the small network, and the error of all networks."""
    labels = [label for label in dict.fromkeys((answers.full, answers.small)) if answers.of(label)]
    rows = [
        {
            "series": label,
            "confidence": round(100 * each.confidence, 2),
            "accuracy": round(100 * each.accuracy, 2),
            "images": each.images,
            "words": f"{label}: {each.images} answers with a mean probability of "
            f"{100 * each.confidence:.0f} %, {100 * each.accuracy:.0f} % correct",
        }
        for label in labels
        for network in [answers.of(label)]
        if network
        for each in calibration(network.found)
    ]
    errors = [
        [
            Cell(each.label),
            _percent(expected_calibration_error(each.found)),
            _percent(float(np.mean([one.confidence.mean() for one in each.found]))),
            _percent(float(np.mean([one.correct.mean() for one in each.found]))),
        ]
        for each in answers.networks
    ]
    lines = [
        "A network is calibrated if, of its answers with a probability of 80 %, 80 % are correct. "
        "Below the dashed line, its probabilities are too high. The expected calibration error "
        "(ECE) is the mean distance to the line over ten bins, weighted by their answers."
    ]
    columns = ("network", "ECE", "mean probability", "accuracy")
    blocks: list[Chart | Table] = [Table("Calibration of all networks", columns, errors)]
    if rows:
        text = "Reliability diagram: share of correct answers against their probability"
        blocks.insert(0, Chart(text, reliability(labels), [View("", rows)]))
    return Section("calibration", "Calibration", lines, blocks)


def _percent(share: float) -> Cell:
    return Cell(percent(share, ADAPT_DECIMALS), share)


def differing_images(answers: Answers) -> tuple[list[int], list[int]]:
    """Indices of the images that the section shows: only the full, only the small one is right."""
    full, small = answers.of(answers.full), answers.of(answers.small)
    if full is None or small is None or full is small:
        return [], []
    one, other = full.found[0], small.found[0]
    return (
        only_first_right(one, other, MOST_IMAGES)[0],
        only_first_right(other, one, MOST_IMAGES)[0],
    )


def images_section(answers: Answers, pixels: dict[int, NDArray[np.uint8]]) -> Section | None:
    """The images on which the full and the small network differ; None without both networks.

    Args:
        pixels: the images of ``differing_images``, by their index: uint8, shape (channels, height,
            width).
    """
    full, small = answers.of(answers.full), answers.of(answers.small)
    if full is None or small is None or full is small:
        return None
    one, other = full.found[0], small.found[0]
    lines, blocks = [], []
    for first, right, wrong in ((full, one, other), (small, other, one)):
        shown, number = only_first_right(right, wrong, MOST_IMAGES)
        what = f"only {first.label} is right"
        if not number:
            lines.append(f"There is no {answers.split} image for which {what}.")
            continue
        of = f"{len(shown)} of {number}" if len(shown) < number else str(number)
        title = f"O{what[1:]}: {of} image{'' if number == 1 else 's'}"
        networks = ((full.label, one), (small.label, other))
        pictures = [_image(place, pixels[place], networks, answers.classes) for place in shown]
        blocks.append(Pictures(title, pictures))
    head = (
        f"Answers of the first seed of both networks, {full.label} and {small.label}, with their "
        "probabilities. Wrong answers with the highest probability come first."
    )
    return Section("images", "Images on which they differ", [head, *lines], blocks)


def _image(
    place: int,
    pixels: NDArray[np.uint8],
    networks: Sequence[tuple[str, Predictions]],
    classes: Sequence[str],
) -> Picture:
    label = _short(classes[networks[0][1].labels[place]])
    answers = [
        f"{name}: {_short(classes[found.answers[place]])} ({100 * found.confidence[place]:.0f} %)"
        for name, found in networks
    ]
    alt = f"Test image {place} of class {label}"
    return Picture(png_of(pixels), alt, [f"{label} (image {place})", *answers], _SHOWN_WIDTH)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of an image: uint8, shape (1 or 3, height, width); large ones are reduced."""
    from PIL import Image

    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
