"""Killed at any moment: nothing finished is done twice, and the numbers stay the same."""

import io
import json
import os
import signal
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from safetensors import SafetensorError

from workbench.cli import main
from workbench.store.mlflow_store import Store
from workbench.store.runs import FAILED, FINISHED, KILLED
from workbench.store.unfinished_work import Work

TASK = (
    "--source", "digits", "--target", "digits-0v1", "--schedule", "one-cycle",
    "--source-epochs", "2", "--epochs", "4", "--batch-size", "16",
    "--protocols", "full-scratch,full-fine",
)  # fmt: skip


def start(warm, folder, *extra):
    folder.mkdir(exist_ok=True)
    Store(f"sqlite:///{folder}/mlruns/mlflow.db")  # here MLflow has done its part once for all
    return warm.spawn("adapt", *TASK, *extra, "--json", cwd=folder)


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out), err


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def wait_for(process, happened, seconds=120):
    deadline = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def numbers(result):
    return [(row["protocol"], row["accuracies"]) for row in result["protocols"]]


def stored(folder):
    store = Store(f"sqlite:///{folder}/mlruns/mlflow.db")
    return store.runs(list(store.experiments().values()), {})


def fingerprints(folder):
    return {run.name: run.tags.get("workbench.fingerprint") for run in stored(folder)}


def states(folder):
    return {run.name: run.status for run in stored(folder)}


def go_on(folder):
    """The same command again, in this process: a new one takes seconds to import what it needs."""
    text = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(text):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["workbench", "adapt", *TASK, "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 0
    return json.loads(text.getvalue())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, go_on(folder)


@pytest.mark.slow
def test_killed_in_the_source_training_it_goes_on_from_the_last_epoch(undisturbed, tmp_path, warm):
    folder, whole = undisturbed
    process = start(warm, tmp_path)
    wait_for(process, lambda: list(tmp_path.glob("mlruns/work/*/checkpoint.safetensors")))
    kill(process)
    assert "FINISHED" not in states(tmp_path).values()
    result = go_on(tmp_path)
    assert numbers(result) == numbers(whole)
    assert fingerprints(tmp_path) == fingerprints(folder)
    assert set(states(tmp_path).values()) == {FINISHED}
    store = Store(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    (source,) = [run for run in stored(tmp_path) if run.name.startswith("source · digits ·")]
    losses = store._client.get_metric_history(source.run_id, "train_loss")
    assert sorted(point.step for point in losses) == [1, 2]


def test_killed_in_a_protocol_it_repeats_no_finished_one(undisturbed, tmp_path, warm):
    folder, whole = undisturbed
    process = start(warm, tmp_path)
    done = "full-scratch · digits-0v1 · seed 0"
    wait_for(process, lambda: next(True for line in process.stderr if f"{done}: 4/4" in line))
    wait_for(process, lambda: states(tmp_path).get("full-fine · digits-0v1 · seed 0"))
    kill(process)
    before = {run.name: run.run_id for run in stored(tmp_path)}
    assert states(tmp_path)[done] == FINISHED
    result = go_on(tmp_path)
    assert result["trained"] == 1
    assert result["run_id"] == before["digits-0v1 · simplecnn · pfa-kl"]
    assert numbers(result) == numbers(whole)
    assert fingerprints(tmp_path) == fingerprints(folder)
    after = {run.name: run.run_id for run in stored(tmp_path)}
    untrained = after.pop("source · digits-0v1 · seed 0")  # it comes last
    assert untrained not in before.values()
    assert after == before, "every run that was cut off is reopened, none is made twice"
    assert set(states(tmp_path).values()) == {FINISHED}


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_an_interrupt_marks_the_runs_killed_and_says_how_to_go_on(tmp_path, warm, number, status):
    process = start(warm, tmp_path)
    wait_for(process, lambda: list(tmp_path.glob("mlruns/work/*/checkpoint.safetensors")))
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert "Traceback" not in err
    assert set(states(tmp_path).values()) == {KILLED}
    if number == signal.SIGINT:
        assert "run the same command again to continue" in err


@pytest.mark.slow
def test_three_started_together_in_an_empty_folder_agree(undisturbed, tmp_path, warm):
    _, whole = undisturbed
    results = [finish(process) for process in [start(warm, tmp_path) for _ in range(3)]]
    assert [numbers(result) for result, _ in results] == [numbers(whole)] * 3
    assert sorted(result["trained"] for result, _ in results) == [0, 0, 2]
    assert len(stored(tmp_path)) == 6
    assert set(states(tmp_path).values()) == {FINISHED}


def test_a_training_that_breaks_down_is_failed_with_its_reason(run_cli, tmp_path):
    status, _, err = run_cli("adapt", *TASK, "--lr", "1e6", "--source-epochs", "1")
    assert status == 1
    assert "try a lower --lr" in err
    lines = [line for line in err.splitlines() if "still working" not in line]
    assert len(lines) < 5
    broken = [run for run in stored(tmp_path) if run.status == FAILED]
    assert {run.tags["workbench.kind"] for run in broken} == {"protocol", "adapt"}
    assert all("loss is nan" in run.tags["workbench.failure"] for run in broken)


def test_a_store_that_fails_destroys_no_finished_training(run_cli, tmp_path, monkeypatch):
    def reject(*args):  # when the model's files are there, but it is not complete
        raise OSError("the server went away")

    what = ("--source", "digits", "--target", "digits-0v1", "--source-epochs", "1")
    call = ("analyze", *what, "--json")
    with monkeypatch.context() as patch:
        patch.setattr("mlflow.MlflowClient.finalize_logged_model", reject)
        status, _, err = run_cli(*call)
    assert status == 2
    assert "the training itself is safe" in err
    work = Work(Path("mlruns/work"), Path("mlruns/mlflow.db.locks"))
    (key,) = work.begun(Store().address)
    assert work.outcome(key) is not None
    monkeypatch.setattr(
        "workbench.store.recorder.Recorder._fit", lambda *a: pytest.fail("trained anew")
    )
    status, out, err = run_cli(*call)
    assert status == 0, err
    assert json.loads(out)["recipe"]
    assert not work.begun(Store().address)
    assert len(list(Path("mlruns").rglob("MLmodel"))) == 1


def test_a_full_disk_is_one_line_and_loses_nothing(run_cli, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    call = ("adapt", *TASK, "--source-epochs", "1", "--epochs", "1", "--json")
    with monkeypatch.context() as patch:
        patch.setattr("workbench.models.weight_files.save_file", full)
        status, _, err = run_cli(*call)
    assert status == 1
    assert "the disk is full" in err.splitlines()[-1]
    status, out, _ = run_cli(*call)
    assert (status, json.loads(out)["trained"]) == (0, 2)
    assert not list(tmp_path.rglob("*.part"))
