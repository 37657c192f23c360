"""The same numbers by every engine, whatever dies on the way; failures are collected."""

import csv
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import save_file

from workbench.adaptation.single_steps import SINGLE_STEPS
from workbench.cli import main
from workbench.errors import SettingsError, StoreError
from workbench.experiments.engines import cell_processes
from workbench.experiments.engines.cell_processes import Ended, RunningCell
from workbench.experiments.engines.cells import KINDS, TRIAL
from workbench.experiments.engines.engine_settings import ENGINE_NAMES, EngineSettings
from workbench.experiments.engines.engine_table import ENGINES, open_engine
from workbench.models.networks import build_network
from workbench.store.mlflow_store import Store
from workbench.store.runs import FINISHED, KILLED

#: Columns that depend on the moment, not on the training.
MOMENT = ("latency_ms", "train_seconds", "run_id", "date", "commit")
ON_ENGINE = ("--engine", "local", "--workers", 2, "--cpus-per-cell", 1)


def bench(folder):
    weights = folder.parent / "source.safetensors"
    if not weights.exists():
        save_file(build_network("simplecnn", (1, 8, 8), 10, seed=1).state_dict(), weights)
    return (
        "bench", "--source", "digits", "--model", "simplecnn", "--weights", weights, "--target",
        "digits-3v8", "--methods", "uniform", "--footprints", "0.4", "--epochs", 2, "--schedule",
        "one-cycle", "--batch-size", 64,
    )  # fmt: skip


def run(folder, *args):
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["workbench", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            main()
    return ended.value.code


def rows(folder):
    with (folder / "docs/results/data/cells.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    return [{name: row[name] for name in row if name not in MOMENT} for row in found]


def stored(folder):
    store = Store(f"sqlite:///{folder}/mlruns/mlflow.db")
    return store.runs(list(store.experiments().values()), {})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A bench in one process, with one thread as the cells have."""
    folder = tmp_path_factory.mktemp("engines") / "alone"
    with open_engine(EngineSettings(engine="local", cpus_per_cell=1), {}):
        assert run(folder, *bench(folder)) == 0
    return folder


def test_every_engine_and_every_kind_of_cell_has_an_entry():
    assert set(ENGINES) == set(ENGINE_NAMES)
    assert set(KINDS) == {*SINGLE_STEPS, TRIAL}


@pytest.mark.slow  # the short chaos test kills cells of a bench, too
def test_a_bench_with_killed_cells_has_the_rows_of_one_process(undisturbed, monkeypatch):
    folder, polls, killed = undisturbed.parent / "local", {}, []

    def poll(self, poll=RunningCell.poll):
        number = polls[id(self)] = polls.get(id(self), 0) + 1
        if self._process is not None and number == 4 * len(polls) and len(killed) < 3:
            os.killpg(self._process.pid, signal.SIGKILL)
            killed.append(number)
        return poll(self)

    monkeypatch.setattr(RunningCell, "poll", poll)
    assert run(folder, *bench(folder), *ON_ENGINE) == 0
    assert killed
    assert rows(folder) == rows(undisturbed)
    assert {run.status for run in stored(folder)} == {FINISHED}
    assert sorted(run.name for run in stored(folder)) == sorted(
        run.name for run in stored(undisturbed)
    )


def test_the_rows_of_the_engine_are_found_by_a_call_without_it(undisturbed, monkeypatch):
    folder = undisturbed.parent / "local"
    if not folder.exists():
        pytest.skip("needs the test before")
    (folder / "docs/results/data/cells.csv").unlink()
    monkeypatch.setattr(
        "workbench.store.recorder.Recorder._fit", lambda *a: pytest.fail("trained anew")
    )
    with open_engine(EngineSettings(engine="local", cpus_per_cell=1), {}):
        assert run(folder, *bench(folder)) == 0
    assert rows(folder) == rows(undisturbed)


ADAPT = (
    "adapt", "--source", "digits", "--target", "digits-0v1", "--source-epochs", 1, "--epochs", 2,
    "--schedule", "one-cycle", "--batch-size", 64, "--protocols", "full-fine,pfa-distill",
)  # fmt: skip


@pytest.mark.slow
def test_an_adaptation_with_a_teacher_is_that_of_one_process(tmp_path, capsys):
    with open_engine(EngineSettings(engine="local", cpus_per_cell=1), {}):
        assert run(tmp_path / "alone", *ADAPT, "--seeds", 2, "--json") == 0
    alone = json.loads(capsys.readouterr().out)
    assert run(tmp_path / "engine", *ADAPT, "--seeds", 2, "--json", *ON_ENGINE) == 0
    result = json.loads(capsys.readouterr().out)
    assert [(row["protocol"], row["accuracies"]) for row in result["protocols"]] == [
        (row["protocol"], row["accuracies"]) for row in alone["protocols"]
    ]
    assert result["trained"] > 0

    def weights(folder):
        return {run.name: run.tags.get("workbench.fingerprint") for run in stored(folder)}

    def kept(folder):
        return {run.name: run.tags.get("workbench.weights") for run in stored(folder)}

    assert weights(tmp_path / "engine") == weights(tmp_path / "alone")
    assert kept(tmp_path / "engine") == kept(tmp_path / "alone")
    parents = {run.run_id: run.name for run in stored(tmp_path / "engine")}
    assert {parents.get(run.parent) for run in stored(tmp_path / "engine")} == {
        None, "digits-0v1 · simplecnn · pfa-kl",
    }  # fmt: skip
    assert run(tmp_path / "engine", *ADAPT, "--seeds", 2, "--json", *ON_ENGINE) == 0
    assert json.loads(capsys.readouterr().out)["trained"] == 0


def test_a_failing_cell_does_not_stop_the_others(undisturbed, monkeypatch, capsys):
    folder = undisturbed.parent / "failing"

    def poll(self, poll=RunningCell.poll):
        if '"full-fine"' in self.text and '"training"' in self.text:
            return Ended(None, "it fell over")
        return poll(self)

    with monkeypatch.context() as patch:
        patch.setattr(RunningCell, "poll", poll)
        assert run(folder, *bench(folder), *ON_ENGINE) == 1
    err = capsys.readouterr().err.splitlines()
    assert "workbench: digits-3v8: full-fine, seed 0: it fell over" in err
    assert any("1 of 4 cells failed; the others are recorded" in line for line in err)
    assert [row["protocol"] for row in rows(folder)] == ["source", "pfa-fine"]


def test_a_store_that_does_not_answer_is_asked_again_and_a_crash_is_explained(monkeypatch):
    monkeypatch.setattr(cell_processes, "_PAUSE", 0.01)
    cell = RunningCell("{}", 1, "/nowhere")
    starts = []

    class Process:
        pid = 1

        def __init__(self, status, text):
            self.status, self.text = status, text

        def poll(self):
            return self.status

    outcomes = iter([
        (2, '{"error": "StoreError", "problems": ["no answer"]}'), (-9, ""), (0, '{"run_id": "a"}'),
    ])  # fmt: skip

    def start(self):
        self._left -= 1
        status, text = next(outcomes)
        starts.append(status)
        self._process, self._out = Process(status, text), _file(text)
        self._messages = _file("")

    monkeypatch.setattr(RunningCell, "_start", start)
    deadline = time.monotonic() + 5
    while (ended := cell.poll()) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert starts == [2, -9, 0]
    assert ended == Ended({"run_id": "a"})
    again = RunningCell("{}", 1, "/nowhere")
    again._messages = _file("some\nreason\n")
    again._out = _file("")
    assert again._read(-9)[0].reason.endswith("the system kills processes when memory is short")
    assert again._read(1) == (Ended(None, "exit status 1: reason"), False)


def _file(text):
    file = cell_processes._open_file()
    file.write(text.encode())
    file.flush()
    Path(file.name).unlink()
    return file


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)]
)
def test_cells_end_with_their_driver(tmp_path, number, warm):
    Store(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    task = (*ADAPT[:6], 400, *ADAPT[7:])  # long enough to be interrupted
    driver = warm.spawn(*task, *ON_ENGINE, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("mlruns/work/*/checkpoint.safetensors")):
        assert driver.poll() is None, driver.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    driver.send_signal(number)
    _, err = driver.communicate(timeout=60)
    assert driver.returncode in (130, -9)
    assert "Traceback" not in err
    deadline = time.monotonic() + 20
    while _processes_in(tmp_path):
        assert time.monotonic() < deadline, "a cell goes on without its driver"
        time.sleep(0.2)
    cells = [run.status for run in stored(tmp_path) if run.name.startswith("source · digits")]
    assert cells == [KILLED]
    if number == signal.SIGINT:
        assert {run.status for run in stored(tmp_path)} == {KILLED}


def _processes_in(folder):
    """Ids of the processes that work in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if path.readlink() == folder and path.parent.name != str(os.getpid()):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_slurm_and_several_machines_are_rejected_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    slurm = EngineSettings(engine="slurm")
    with pytest.raises(StoreError, match="SQLite store cannot be combined"), open_engine(slurm, {}):
        pass
    with (
        pytest.raises(SettingsError, match="no 'sbatch' on this machine"),
        open_engine(slurm, {"tracking_uri": "http://server:5000"}),
    ):
        pass


def test_cells_need_a_store_that_no_other_machine_opens(monkeypatch):
    monkeypatch.setattr("workbench.store.shared_stores.network_file_system", lambda *a: "nfs4")
    with (
        pytest.raises(StoreError, match=r"--engine local and a SQLite store .* nfs4 file system"),
        open_engine(EngineSettings(engine="local", cpus_per_cell=1), {}),
    ):
        pass


@pytest.mark.slow
def test_one_cell_through_submitit(undisturbed, capsys):
    pytest.importorskip("submitit")
    folder = undisturbed.parent / "one-job"
    command = (
        "adapt", *bench(folder)[1:7], "--target", "digits-3v8", "--method", "uniform",
        "--footprint", "0.4", *bench(folder)[13:], "--protocols", "pfa-fine", "--json",
    )  # fmt: skip
    alone = ("--cpus-per-cell", 1, "--workers", 2)
    with open_engine(EngineSettings(engine="local", cpus_per_cell=1), {}):
        assert run(folder, "analyze", *command[1:13]) == 0  # so that only one job is left
    capsys.readouterr()
    assert run(folder, *command, "--engine", "slurm", "--engine-address", "local", *alone) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["trained"] == 1
    (row,) = [row for row in rows(undisturbed) if row["protocol"] == "pfa-fine"]
    (ours,) = [each for each in result["protocols"] if each["protocol"] == "pfa-fine"]
    assert ours["accuracies"] == [int(row["hits"]) / int(row["images"])]
