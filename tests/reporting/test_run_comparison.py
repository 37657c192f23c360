"""The chart of a comparison: which results stand in one group."""

from dataclasses import replace
from pathlib import Path

import pytest

from workbench.deployment.settings import STAGE_OPTIONS
from workbench.reporting import run_comparison
from workbench.reporting.charts import _labels
from workbench.reporting.results import ProtocolResult
from workbench.reporting.run_comparison import ComparedResult, _grouped, _merge, draw_comparison
from workbench.store.runs import StoredRun

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


def test_networks_of_other_gates_are_no_seeds_of_one_row(monkeypatch):
    def run(key, seed, **params):
        whole = {
            "source": "digits", "domain": "d", "model": "simplecnn", "method": "uniform",
            "selection": "vib", "protocol": "pfa-fine", "epochs": "1", "schedule": "paper",
            "learning_rate": "0.1", "seed": seed, **params,
        }  # fmt: skip
        return StoredRun(key, key, "FINISHED", {"workbench.key": key}, whole, {}, "", "1")

    read = run_comparison._WholeRun
    monkeypatch.setattr(run_comparison, "_read", lambda store, run: read(run, RESULT, ()))
    runs = [
        run("a", "0"), run("b", "1"), run("c", "0", gate_penalty="5"),
        run("d", "0", gate_penalty="5", gate_epochs="2"),
    ]  # fmt: skip
    rows = {_merge(each).method: _merge(each) for each in _grouped(None, runs, print)}
    assert {label: row.result.run_ids for label, row in rows.items()} == {
        "uniform selection vib": ("a", "b"),
        "uniform selection vib gate-penalty 5": ("c",),
        "uniform selection vib gate-epochs 2 gate-penalty 5": ("d",),
    }


def test_stages_with_other_options_are_no_seeds_of_one_row():
    assert set(STAGE_OPTIONS) <= set(run_comparison._SETTINGS)
