"""The exits of recorded networks, as their report shows them."""

import json
import math
from types import SimpleNamespace

import pytest

from workbench.adaptation.results.recorded_exits import recorded_exits

SHARES = {"exit_1_share": 0.5, "exit_2_share": 0.2, "exit_3_share": 0.3}
DETAILS = {"depths": [0.25, 0.5], "thresholds": [0.9, "inf"]}


@pytest.fixture
def read(tmp_path):
    """What is read of one network with two seeds, whose records may be damaged."""

    def read(second=DETAILS, metrics=SHARES):
        runs = {}
        for name, details, own in (("a", DETAILS, SHARES), ("b", second, metrics)):
            path = tmp_path / f"{name}.json"
            path.write_text(json.dumps({"left_float": [], "details": details}))
            runs[name] = SimpleNamespace(run_id=name, metrics=own, path=path)
        store = SimpleNamespace(fetch=lambda run, name: run.path)
        network = SimpleNamespace(label="pfa-fine multi-exit", run_ids=("a", "b", "gone"))
        return recorded_exits(store, [network], runs)

    return read


def test_shares_are_means_and_thresholds_are_those_of_each_seed(read):
    other = {"exit_1_share": 0.7, "exit_2_share": 0.2, "exit_3_share": 0.1}
    (found,), missing = read(DETAILS | {"thresholds": [0.8, 0.7]}, other)
    assert missing == []
    assert found.shares == pytest.approx((0.6, 0.2, 0.2))
    assert found.depths == (0.25, 0.5)
    assert found.thresholds == ((0.9, 0.8), (math.inf, 0.7))


@pytest.mark.parametrize(
    "details",
    [None, {}, {"depths": [0.5], "thresholds": [0.9]}, DETAILS | {"thresholds": [0.9, "none"]},
     DETAILS | {"depths": [2, 3]}],
)  # fmt: skip
def test_damaged_thresholds_are_a_line_and_the_shares_stay(read, details):
    (found,), missing = read(details)
    assert found.shares == pytest.approx((0.5, 0.2, 0.3))
    assert (found.depths, found.thresholds) == ((), ())
    (line,) = missing
    assert line.startswith("Thresholds of pfa-fine multi-exit: ")


def test_networks_without_exits_are_left_out(read):
    assert read(metrics={"test_accuracy": 0.9}) == ([], [])
    network = SimpleNamespace(label="pfa-fine", run_ids=("a",))
    runs = {"a": SimpleNamespace(run_id="a", metrics={"test_accuracy": 0.9})}
    assert recorded_exits(None, [network], runs) == ([], [])
