"""The chart of a comparison: which results stand in one group."""

from dataclasses import replace
from pathlib import Path

import pytest

from workbench.deployment.settings import STAGE_OPTIONS
from workbench.reporting import run_comparison
from workbench.reporting.charts import _labels
from workbench.reporting.compared_results import ComparedResult, with_differences
from workbench.reporting.results import ProtocolResult
from workbench.reporting.run_columns import comparison_dicts, comparison_table
from workbench.reporting.run_comparison import _grouped, _merge, draw_comparison
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


@pytest.fixture
def make_run(monkeypatch):
    """Runs that a comparison reads, each with these parameters."""
    read = run_comparison._WholeRun

    def result_of(run):
        return replace(RESULT, protocol="pfa-fine", stage=run.params.get("stage", ""))

    monkeypatch.setattr(run_comparison, "_read", lambda store, run: read(run, result_of(run), ()))

    def run(key, seed, **params):
        whole = {
            "source": "digits", "domain": "d", "model": "simplecnn", "method": "uniform",
            "selection": "vib", "protocol": "pfa-fine", "epochs": "1", "schedule": "paper",
            "learning_rate": "0.1", "seed": seed, **params,
        }  # fmt: skip
        return StoredRun(key, key, "FINISHED", {"workbench.key": key}, whole, {}, "", "1")

    return run


def test_networks_of_other_gates_are_no_seeds_of_one_row(make_run):
    runs = [
        make_run("a", "0"), make_run("b", "1"), make_run("c", "0", gate_penalty="5"),
        make_run("d", "0", gate_penalty="5", gate_epochs="2"),
    ]  # fmt: skip
    rows = {_merge(each).method: _merge(each) for each in _grouped(None, runs, print)}
    assert {label: row.result.run_ids for label, row in rows.items()} == {
        "uniform selection vib": ("a", "b"),
        "uniform selection vib gate-penalty 5": ("c",),
        "uniform selection vib gate-epochs 2 gate-penalty 5": ("d",),
    }


def test_stages_with_other_options_are_no_seeds_of_one_row():
    assert set(STAGE_OPTIONS) == set(run_comparison._STAGE_SETTINGS)
    assert set(STAGE_OPTIONS) <= set(run_comparison._SETTINGS)


def row_labels(runs):
    return [
        row.label
        for row in with_differences([_merge(each) for each in _grouped(None, runs, print)])
    ]


def test_rows_of_a_stage_with_other_options_have_other_labels(make_run):
    plain = {"exits": "3", "exit_flops": "None", "exit_tolerance": "1.0"}
    runs = [
        make_run("a", "0", stage="multi-exit", **plain),
        make_run("b", "1", stage="multi-exit", **plain),
        make_run("c", "0", stage="multi-exit", **plain | {"exits": "4"}),
        make_run("d", "0", stage="multi-exit", **plain | {"exit_flops": "0.5"}),
        make_run("e", "0", stage="multi-exit", **plain | {"exit_tolerance": "2.0"}),
    ]
    assert row_labels(runs) == [
        "pfa-fine multi-exit exits 3 exit-tolerance 1.0",
        "pfa-fine multi-exit exits 4 exit-tolerance 1.0",
        "pfa-fine multi-exit exits 3 exit-flops 0.5 exit-tolerance 1.0",
        "pfa-fine multi-exit exits 3 exit-tolerance 2.0",
    ]


def test_a_kind_of_binary_weights_needs_no_second_word(make_run):
    kinds = ("connect", "bnn", "xnor")
    runs = [make_run(kind, "0", stage="binary", binary=kind, binary_epochs="5") for kind in kinds]
    assert row_labels(runs) == [f"pfa-fine binary {kind}" for kind in kinds]


def test_options_that_do_not_differ_are_not_in_the_label(make_run):
    runs = [
        make_run("a", "0", stage="sparse", mask_sparsity="0.9"),
        make_run("b", "0", stage="lottery", mask_sparsity="0.8"),  # another stage
        make_run("c", "0", stage="sparse", mask_sparsity="0.7", schedule="one-cycle"),
        make_run("d", "0"),
        make_run("e", "0", mask_sparsity="0.7"),  # not a stage
    ]
    labels = row_labels(runs)
    assert labels == ["pfa-fine sparse", "pfa-fine lottery", "pfa-fine sparse", *["pfa-fine"] * 2]


def test_the_table_has_the_labels_and_json_has_all_options(make_run):
    runs = [make_run(share, "0", stage="sparse", mask_sparsity=share) for share in ("0.9", "0.7")]
    rows = with_differences([_merge(each) for each in _grouped(None, runs, print)])
    columns, cells = comparison_table(rows)
    place = columns.index("protocol")
    shown = [cell[place] for cell in cells]
    assert shown == ["pfa-fine sparse mask-sparsity 0.9", "pfa-fine sparse mask-sparsity 0.7"]
    plain = comparison_dicts(rows)
    assert [row["protocol"] for row in plain] == ["pfa-fine sparse"] * 2  # as in --where
    assert [row["stage_options"] for row in plain] == [
        {"mask_sparsity": "0.9"}, {"mask_sparsity": "0.7"},
    ]  # fmt: skip
