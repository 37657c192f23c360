"""How long an adaptation will take is reported before it begins, and only where it is long."""

import json
import re

import pytest

from workbench.adaptation.steps import time_needed
from workbench.adaptation.trainings import source_training
from workbench.training import time_estimate

ADAPT = ("adapt", "--source", "digits", "--target", "digits-0v1", "--schedule", "one-cycle")
SHORT = ("--source-epochs", 1, "--epochs", 1, "--batch-size", 64, "--protocols", "full-fine")


@pytest.fixture
def impatient(monkeypatch):
    """What takes longer than a millisecond is long."""
    for module in (time_estimate, time_needed, source_training):
        monkeypatch.setattr(module, "LONG_SECONDS", 1e-3)


def test_a_dry_run_of_a_long_training_has_the_estimate_and_what_is_quicker(run_cli):
    status, out, err = run_cli(*ADAPT, "--source-epochs", 900_000, "--epochs", 1, "--dry-run")
    assert status == 0, err
    (time,) = [line for line in out.splitlines() if line.startswith("time")]
    assert re.search(r"about \d+ h \d+ min of training on this processor \(source \d+ h", time)
    (quicker,) = [line for line in out.splitlines() if line.startswith("quicker")]
    assert "--weights FILE" in quicker
    assert "--schedule one-cycle --source-epochs 12: about" in quicker


def test_a_short_one_is_not_timed(run_cli, monkeypatch):
    monkeypatch.setattr(
        "workbench.adaptation.steps.time_needed.estimate_seconds", lambda *a: pytest.fail("timed")
    )
    status, out, err = run_cli(*ADAPT, *SHORT, "--dry-run", "--json")
    assert status == 0, err
    assert json.loads(out)["time"] == {
        "source": 0.0, "target": 0.0, "trainings": 0, "short_source": 0.0,
    }  # fmt: skip


def test_what_is_done_already_is_not_counted(run_cli, impatient):
    status, _, err = run_cli(*ADAPT, *SHORT)
    assert status == 0, err
    assert re.search(r"time +about .* of training on this processor \(source .*, 1 training", err)
    status, _, err = run_cli(*ADAPT, *SHORT)
    assert (status, "of training on this processor" in err) == (0, False)


def test_train_reports_it_too(run_cli, impatient):
    call = ("train", "--source", "digits", "--epochs", 2, "--out")
    status, _, err = run_cli(*call, "a.safetensors")
    assert status == 0, err
    assert re.search(r"time +about .* of training on this processor \(.* an epoch\)", err)
    status, _, err = run_cli(*call, "b.safetensors")
    assert (status, "of training on this processor" in err) == (0, False)


def test_analyze_reports_the_training_of_its_source(run_cli, impatient):
    call = ("analyze", *ADAPT[1:], "--source-epochs", 1)
    status, _, err = run_cli(*call)
    assert status == 0, err
    assert re.search(r"time +about .* of training on this processor \(source [^,]*\)", err)
    status, _, err = run_cli(*call)
    assert (status, "of training on this processor" in err) == (0, False)
