"""A report with every part, made of invented numbers."""

import numpy as np

from workbench.compression.recipes.correlation_record import LayerCorrelation
from workbench.compression.recipes.recipes import LayerRecipe, Recipe
from workbench.reporting.report.adaptation_page import AdaptationReport
from workbench.reporting.report.exit_section import NetworkExits
from workbench.reporting.report.network_sections import Training
from workbench.reporting.report.networks import networks_from
from workbench.reporting.report.prediction_sections import AnsweredNetwork, Answers
from workbench.training.predictions import Predictions

IMAGES = 40


def network(protocol, accuracies, parameters, **more):
    return {
        "protocol": protocol,
        "accuracies": accuracies,
        "accuracy_interval": [min(accuracies) - 0.05, min(1.0, max(accuracies) + 0.05)],
        "parameters": parameters,
        "footprint": parameters / 1000,
        "flops": 10 * parameters,
        "flops_ratio": parameters / 1000,
        "latency_ms": parameters / 500,
        "latency_64_ms": None,
        "train_seconds": 2.0,
        "run_ids": ["a" * 32] * len(accuracies),
        "file_bytes": 4 * parameters,
        **more,
    }


def predictions(classes, seed, hits):
    """Answers for ``IMAGES`` images, of which the first ones are right."""
    drawing = np.random.default_rng(seed)
    labels = np.arange(IMAGES) % classes
    answers = np.where(np.arange(IMAGES) < hits, labels, (labels + 1) % classes)
    shares = drawing.uniform(0.5, 1.0, IMAGES).astype(np.float32)
    return Predictions(
        labels, answers[:, None], shares[:, None], np.where(answers == labels, shares, 1 - shares)
    )


def layer(name, filters, kept):
    spectrum = 0.5 ** np.arange(1, filters + 1)
    return LayerRecipe(
        name, filters, tuple(range(kept)), kept, filters - 1, 0.5, 0.9,
        tuple(spectrum / spectrum.sum()),
    )  # fmt: skip


def correlation(name, filters, kept):
    def picture(side):
        return (127 * np.eye(side)).astype(np.int8)

    spectrum = np.full(kept, 1 / kept, dtype=np.float32)
    return LayerCorrelation(name, picture(filters), picture(kept), 0.4, 0.2, spectrum)


def report(*, classes=("cat", "dog", "fox"), layers=("first", "second"), **changed):
    """A report; ``changed`` replaces some of its parts."""
    rows = [
        network("full-fine", [0.95, 0.9], 1000),
        network("pfa-fine", [0.9, 0.88], 300),
        network("pfa-fine", [0.9, 0.87], 300, stage="int8", latency_ms=None),
    ]
    answers = Answers(
        [
            AnsweredNetwork("full-fine", [predictions(len(classes), 0, 38)]),
            AnsweredNetwork("pfa-fine", [predictions(len(classes), 1, 36)]),
        ],
        "full-fine",
        "pfa-fine",
        classes,
    )
    curve = {epoch: 1 / epoch for epoch in range(1, 6)}
    parts = {
        "title": "pets · tiny · pfa-kl",
        "verdict": "pfa-fine: 89.0 % at 30 % of the parameters",
        "notes": ["full-fine is the most accurate"],
        "networks": networks_from({"protocols": rows[:2], "stages": rows[2:]}),
        "recommended": "pfa-fine",
        "accuracy_line": "Accuracy: two seeds.",
        "recipe": Recipe("pfa-kl", 100, tuple(layer(name, 12, 5) for name in layers)),
        "exits": [
            NetworkExits(
                "pfa-fine multi-exit",
                (0.625, 0.0, 0.375),
                (0.25, 0.5),
                ((0.9, 0.8), (float("inf"), float("inf"))),
            ),
            NetworkExits("source multi-exit", (0.5, 0.25, 0.25)),
        ],
        "correlations": [correlation(name, 12, 5) for name in layers],
        "trainings": [Training("full-fine", "0", curve, curve)],
        "answers": answers,
        "pixels": {place: np.full((3, 8, 8), 5 * place, np.uint8) for place in (36, 37)},
        "facts": [("command", "workbench adapt --source zoo --target pets")],
        "code": frozenset({"command"}),
        "missing": ["Something: it was not recorded."],
    }
    return AdaptationReport(**(parts | changed))
