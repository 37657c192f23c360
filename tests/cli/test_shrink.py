"""``workbench shrink`` through the real command line, on digits."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from workbench.store.mlflow_store import Store
from workbench.store.run_tags import KIND

SMALL = (
    "--source", "digits", "--target", "digits-0v1", "--schedule", "one-cycle",
    "--source-epochs", "2", "--epochs", "2", "--batch-size", "32", "--recipes", "pfa-kl,uniform",
    "--selection", "fp", "--budgets", "0.1,0.4", "--rungs", "2",
)  # fmt: skip


def trials():
    store = Store(None)
    every = store.runs(list(store.experiments().values()), {})
    return [run for run in every if run.tags.get(KIND) == "trial"]


def test_a_search_that_is_killed_goes_on_and_repeats_no_finished_trial(run_cli, tmp_path, warm):
    Store(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    process = warm.spawn("shrink", *SMALL, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while sum(run.status == "FINISHED" for run in trials()) < 3:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    finished = {run.run_id for run in trials() if run.status == "FINISHED"}

    status, out, err = run_cli("shrink", *SMALL, "--figure", "pareto.png")
    assert status == 0, err
    assert "test images, after training on all images" in out
    # The report has a command that repeats the search, whichever network was chosen.
    (report,) = re.findall(r"report +(.*report.html)", out)
    assert "--recipes pfa-kl,uniform" in (text := Path(report).read_text())
    assert "--selection fp" in text
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")
    names = [run.name for run in trials() if run.status == "FINISHED"]
    assert len(names) == len(set(names))
    assert finished <= {run.run_id for run in trials()}
    for run in trials():
        assert "validation_accuracy" in run.metrics
        assert "test_accuracy" not in run.metrics

    before = {run.run_id for run in trials()}
    status, out, _ = run_cli("shrink", *SMALL, "--json")
    assert status == 0
    assert {run.run_id for run in trials()} == before
    found = json.loads(out)
    assert found["trials"] >= len(before) - 1
    assert found["complete"]
    assert found["source_saw_validation_images"]
    assert {
        name.partition(" at ")[0] for name in (each["network"] for each in found["networks"])
    } >= {"fp", "pfa-kl + fp"}
    runs = {run for each in found["networks"] for run in each["runs"]}
    assert runs <= before
    costs = [each["cost"] for each in found["networks"]]
    assert costs == sorted(costs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--cost", "watts"), "--cost: unknown value 'watts'"),
        (("--time", "soon"), "--time soon: is not a duration"),
        (("--recipes", "pfa-lk"), "did you mean 'pfa-kl'?"),
        (("--budgets", "0.1,7"), "--budgets 7: is not within (0, 1)"),
        (("--validation", "1"), "--validation 1 is not within (0, 1)"),
        (("--runtime", "onnx"), "--runtime onnx has no effect with --cost flops"),
    ],
)
def test_a_wrong_value_is_one_line(run_cli, options, message):
    status, _, err = run_cli("shrink", "--source", "digits", "--target", "digits-0v1", *options)
    assert status == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


FILE = """
source: digits
target: digits-0v1
schedule: one-cycle
source_epochs: 2
epochs: 2
batch_size: 32
recipes: [pfa-kl, uniform]
selection: fp
budgets: [0.1, 0.4]
rungs: 2
validation: 0.25
"""


def preview(run_cli, *options):
    status, out, err = run_cli("shrink", *options, "--dry-run", "--json")
    assert status == 0, err
    return json.loads(out)


def test_a_file_says_the_same_as_the_command_line(run_cli, tmp_path):
    (tmp_path / "search.yaml").write_text(FILE)
    plan = preview(run_cli, "--config", "search.yaml")
    assert plan == preview(run_cli, *SMALL, "--validation", "0.25")
    assert plan["search"]["budgets"] == [0.1, 0.4]
    other = preview(run_cli, "--config", "search.yaml", "--validation", "0.5", "--rungs", "1")
    assert other["search"] == {**plan["search"], "validation_share": 0.5, "rungs": 1}


def test_a_dry_run_shows_the_steps_and_changes_nothing(run_cli, tmp_path):
    status, out, err = run_cli("shrink", *SMALL, "--seeds", "2", "--dry-run")
    assert status == 0, err
    steps = [line for line in out.splitlines() if line[:1].isdigit()]
    assert steps[0] == "1. source training: digits, 2 epochs (to do)"
    assert "at most 4 candidates and full-fine, 1 epoch each" in steps[2]
    assert "at most 2 candidates and full-fine, 2 epochs each" in steps[3]
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_which_filters_all_networks_keep(run_cli):
    def search(*options):
        status, out, err = run_cli("shrink", *options, "--dry-run")
        assert status == 0, err
        return next(line for line in out.splitlines() if line.startswith("search "))

    own = SMALL.index("--recipes")  # --selection follows
    default, named = (*SMALL[:own], *SMALL[own + 4 :]), (*SMALL[: own + 2], *SMALL[own + 4 :])
    assert "pfa-cost, pfa-kl, uniform with --selection fp at 10 %, 40 %" in search(*default)
    assert "uniform with --selection pfa at" in search(*default, "--selection", "pfa")
    assert "pfa-kl, uniform at 10 %, 40 %" in search(*named)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("method: fp", "search.yaml:1: method: is an option of 'adapt', not of 'shrink'"),
        ("validaton: 0.2", "did you mean 'validation'?"),
        ("rung: 2", "did you mean 'rungs'?"),
        ("rungs: two", "rungs: 'two' is not a whole number"),
        ("figure: a.png", "figure: is an option of the command line only"),
    ],
)
def test_a_wrong_line_in_a_file_is_one_line(run_cli, tmp_path, line, message):
    (tmp_path / "search.yaml").write_text(f"{line}\nsource: digits\ntarget: digits-0v1\n")
    status, out, err = run_cli("shrink", "--config", "search.yaml")
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_missing_file_is_one_line_with_a_remedy_that_works(run_cli):
    status, _, err = run_cli("shrink", "--config", "search.yaml")
    assert status == 2
    assert err == (
        "workbench: search.yaml: no such file; 'workbench shrink --help' lists the options\n"
    )


def test_a_dry_run_reports_the_mistakes_of_the_search(run_cli):
    status, out, err = run_cli("shrink", *SMALL, "--budgets", "7", "--dry-run")
    assert (status, out) == (2, "")
    assert "--budgets 7: is not within (0, 1)" in err


def test_no_time_is_not_an_error(run_cli):
    status, out, err = run_cli("shrink", *SMALL, "--time", "1s")
    assert status == 0, err
    assert "the search is not complete" in out
    assert "the time is over" in err


def test_a_search_that_tried_no_network_has_a_report(run_cli):
    status, out, err = run_cli("shrink", *SMALL, "--time", "0.001s")
    assert status == 0, err
    (path,) = re.findall(r"^report +(\S+)$", out, re.MULTILINE)
    assert "The time was over before a network was tried." in Path(path).read_text()
