"""The chart of a comparison: which results stand in one group."""

from dataclasses import replace
from pathlib import Path

import pytest

from workbench.reporting import run_comparison
from workbench.reporting.charts import _labels
from workbench.reporting.results import ProtocolResult
from workbench.reporting.run_comparison import ComparedResult, draw_comparison

RESULT = ProtocolResult(
    "full-fine", (9, 8), 10, 100, 1.0, 200, 1.0, 1.0, None, 1.0, ("a", "b"), None
)
TRAINED = ComparedResult("digits", "d", "simplecnn", "none", "10 epochs", RESULT, ())
SOURCE = replace(
    TRAINED, training="not trained", result=replace(RESULT, protocol="source", hits=(7,))
)


@pytest.fixture
def groups(monkeypatch):
    """Draw rows, and get the groups that would be drawn: protocols by label."""
    drawn = {}
    monkeypatch.setattr(
        run_comparison, "comparison_chart", lambda accuracies, *_: drawn.update(accuracies)
    )

    def draw(*rows):
        drawn.clear()
        draw_comparison(rows, Path("c.png"))
        return {label: [result.protocol for result in group] for label, group in drawn.items()}

    return draw


def test_an_untrained_source_stands_beside_every_training_of_its_domain(groups):
    assert groups(SOURCE, TRAINED) == {"d": ["full-fine", "source"]}
    longer = replace(TRAINED, training="20 epochs")
    other = replace(TRAINED, domain="e")
    assert groups(TRAINED, longer, other, SOURCE) == {
        "d\nsimplecnn\n10 epochs": ["full-fine", "source"],
        "d\nsimplecnn\n20 epochs": ["full-fine", "source"],
        "e\nsimplecnn\n10 epochs": ["full-fine"],
    }


def test_a_source_without_any_training_has_a_group_of_its_own(groups):
    assert groups(SOURCE) == {"d": ["source"]}


def test_labels_count_the_seeds_of_trained_networks_only():
    one = replace(RESULT, hits=(9,))
    assert _labels({"d": [RESULT, SOURCE.result]}) == ["d"]
    assert _labels({"d": [RESULT], "e": [one, SOURCE.result]}) == ["d\nn = 2", "e\nn = 1"]
