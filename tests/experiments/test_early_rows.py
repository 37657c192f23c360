"""Adaptations of a grid are finished one by one, while the engine runs the cells of the others.

The cells of these tests train nothing: each takes its recorded run out of the trash, when the test
lets it.
"""

import csv
import json
import shutil
import signal
import sqlite3
import threading
import time
from _thread import interrupt_main
from types import SimpleNamespace

import pytest
from safetensors.torch import save_file

from workbench.adaptation import pipeline, preparation
from workbench.adaptation.preparation import prepare
from workbench.adaptation.tasks import loaded_task
from workbench.errors import StoreError
from workbench.experiments import grid
from workbench.experiments.bench import bench
from workbench.experiments.engines import adaptations, local_engine
from workbench.experiments.engines.cell_processes import Ended, RunningCell
from workbench.experiments.engines.cell_progress import CellLog
from workbench.experiments.engines.cells import Cell
from workbench.experiments.engines.engine_settings import EngineSettings
from workbench.experiments.engines.engine_table import open_engine
from workbench.experiments.engines.waves import Wave, next_wave
from workbench.models.networks import build_network
from workbench.store.mlflow_store import Store
from workbench.store.run_tags import KEY, KIND
from workbench.store.runs import FAILED, FINISHED, KILLED
from workbench.training.progress import Display

ROWS = "docs/results/data/cells.csv"
#: Columns that depend on the moment, not on the training.
MOMENT = ("latency_ms", "train_seconds", "run_id", "date", "commit")
ON_ENGINE = ("--engine", "local", "--workers", 2, "--cpus-per-cell", 1)
OPTIONS = {
    "source": "digits", "model": "simplecnn", "methods": "uniform", "footprints": "0.4",
    "epochs": 1, "schedule": "one-cycle", "batch_size": 64,
}  # fmt: skip
FULL, SMALL, SOURCE = "full-fine", "pfa-fine", "source"
_SECONDS = 60  # that a cell waits for what never comes


def command(*more):
    options = ((f"--{name.replace('_', '-')}", value) for name, value in OPTIONS.items())
    words = [word for option in options for word in option]
    return ("bench", "--target", "digits-3v8", "--weights", "../source.safetensors", *words, *more)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A bench of three adaptations, of which two have a training: full-fine and pfa-fine."""
    folder = tmp_path_factory.mktemp("grid") / "recorded"
    folder.mkdir()
    network = build_network("simplecnn", (1, 8, 8), 10, seed=1)
    save_file(network.state_dict(), folder.parent / "source.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with open_engine(EngineSettings(engine="local", cpus_per_cell=1), {}):
            bench(**python_options())
    return folder


def python_options():
    lists = {name: (OPTIONS[name],) for name in ("methods", "footprints")}
    return {**OPTIONS, **lists, "targets": ["digits-3v8"], "weights": "../source.safetensors"}


class Folder:
    """A copy of the recorded bench without its adaptations, its rows and some trainings."""

    def __init__(self, recorded, path):
        self.path, self.database = path, path / "mlruns/mlflow.db"
        self.database.parent.mkdir(parents=True)
        with sqlite3.connect(recorded / "mlruns/mlflow.db") as old:
            old.backup(sqlite3.connect(self.database))
        self.ended = []
        self.trash(KIND, "adapt")

    @property
    def store(self):
        return Store(f"sqlite:///{self.database}")

    def runs(self, tag, value):
        return self.store.runs(list(self.store.experiments().values()), {tag: value})

    def trash(self, tag, value, protocol=None, **which):
        for run in self.runs(tag, value):
            if all(run.params.get(name) == text for name, text in which.items()):
                self._move(run.run_id, "deleted")

    def restore(self, key):
        with sqlite3.connect(self.database) as data:
            ids = data.execute("SELECT run_uuid FROM tags WHERE key = ? AND value = ?", (KEY, key))
            for (name,) in ids.fetchall():
                self._move(name, "active")

    def _move(self, run_id, stage):
        with sqlite3.connect(self.database) as data:
            change = "UPDATE runs SET lifecycle_stage = ? WHERE run_uuid = ?"
            data.execute(change, (stage, run_id))

    def rows(self):
        return rows(self.path)

    def protocols(self):
        return {row["protocol"] for row in self.rows()}

    def statuses(self):
        return sorted(run.status for run in self.runs(KIND, "adapt"))


def rows(folder):
    if not (folder / ROWS).exists():
        return []
    with (folder / ROWS).open(newline="") as file:
        return [
            {name: value for name, value in row.items() if name not in MOMENT}
            for row in csv.DictReader(file)
        ]


@pytest.fixture
def folder(recorded, tmp_path, monkeypatch):
    """The bench without the runs of its trainings."""
    shutil.copy(recorded.parent / "source.safetensors", tmp_path)
    folder = Folder(recorded, tmp_path / "grid")
    for protocol in (FULL, SMALL):
        folder.trash(KIND, "protocol", protocol=protocol)
    monkeypatch.chdir(folder.path)
    return folder


@pytest.fixture
def cells(folder, monkeypatch):
    """Sets what cells wait for, by their names; a text is the reason for which one fails."""
    conditions, since = {}, time.monotonic()

    def poll(running):
        cell = json.loads(running.text)
        name = cell.get("protocol") or cell["kind"]
        found = conditions.get(name, lambda: True)()
        if isinstance(found, str):
            return Ended(None, found)
        if found:
            folder.restore(cell["key"])
            return Ended({"run_id": "0" * 32})
        return Ended(None, "waited in vain") if time.monotonic() - since > _SECONDS else None

    def end(running):
        folder.ended.append(json.loads(running.text).get("protocol"))

    monkeypatch.setattr(local_engine, "prepare_forks", lambda threads: None)
    monkeypatch.setattr(RunningCell, "poll", poll)
    monkeypatch.setattr(RunningCell, "signal_end", end)
    return conditions


def test_rows_of_a_finished_adaptation_are_there_while_a_cell_runs(
    recorded, folder, cells, run_cli, monkeypatch
):
    monkeypatch.setenv("WORKBENCH_PROGRESS_FILE", "progress.jsonl")
    cells[SMALL] = lambda: folder.protocols() == {FULL, SOURCE}
    status, _, err = run_cli(*command("--quiet", *ON_ENGINE))
    assert (status, err) == (0, "")
    assert folder.rows() == rows(recorded)
    assert folder.statuses() == [FINISHED] * 3
    lines = (folder.path / "progress.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    done = [each["done"] for each in records]
    assert done == sorted(done)
    assert done[-1] == 1.0
    assert {"cells (local)"} <= {each["step"] for each in records}


def test_the_rows_are_in_the_same_order_whichever_cell_is_the_first(
    recorded, folder, cells, run_cli
):
    cells[FULL] = lambda: folder.protocols() == {SMALL, SOURCE}
    status, _, err = run_cli(*command(*ON_ENGINE))
    assert status == 0, err
    assert folder.rows() == rows(recorded)


def test_a_failed_cell_is_reported_after_all_cells(folder, cells, run_cli):
    cells[SMALL] = lambda: "it fell over"
    cells[FULL] = lambda: SOURCE in folder.protocols()
    status, _, err = run_cli(*command(*ON_ENGINE))
    assert status == 1
    assert err.splitlines()[-1] == "workbench: digits-3v8: pfa-fine, seed 0: it fell over"
    assert "1 of 2 cells failed" in err.splitlines()[-2]
    assert [row["protocol"] for row in folder.rows()] == [FULL, SOURCE]
    assert folder.statuses() == [FAILED, FINISHED, FINISHED]


@pytest.fixture
def conclusions(monkeypatch):
    """The first ends of adaptations fail; their number is set by the test."""
    state = SimpleNamespace(failing=0, calls=0)

    def conclude(*args, conclude=pipeline.conclude):
        state.calls += 1
        if state.calls <= state.failing:
            raise StoreError("no answer")
        return conclude(*args)

    monkeypatch.setattr(pipeline, "conclude", conclude)
    return state


@pytest.mark.parametrize("failing", [1, 5])
def test_an_adaptation_that_cannot_be_finished_is_tried_again_and_ends_no_cell(
    recorded, folder, cells, conclusions, run_cli, failing
):
    conclusions.failing = failing
    cells[SMALL] = lambda: conclusions.calls >= 2
    status, _, err = run_cli(*command(*ON_ENGINE))
    again = "no answer; it is finished again after all cells"
    assert err.count(again) == min(failing, 3)
    assert not [name for name in folder.ended if name]
    if failing == 1:
        assert status == 0
        assert folder.rows() == rows(recorded)
        assert folder.statuses() == [FINISHED] * 3
        assert not any("failure" in tag for run in folder.runs(KIND, "adapt") for tag in run.tags)
    else:
        assert status != 0
        assert err.splitlines()[-1] == "workbench: no answer"
        assert folder.rows() == []


@pytest.mark.parametrize("moment", ["waiting", "finishing"])
def test_ctrl_c_leaves_the_rows_and_ends_the_cells(folder, cells, monkeypatch, moment):
    def interrupted(begun, finish=grid.finish, **options):
        if moment == "finishing" and folder.rows():
            raise KeyboardInterrupt
        return finish(begun, **options)

    def wait():
        if moment == "waiting" and len(folder.protocols()) == 2:
            interrupt_main()
        return False

    monkeypatch.setattr(grid, "finish", interrupted)
    cells[SMALL] = wait
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    engine = EngineSettings(engine="local", workers=2, cpus_per_cell=1)
    with pytest.raises(KeyboardInterrupt):
        bench(**python_options(), engine=engine)
    assert folder.ended == [SMALL]
    assert "cells" not in {thread.name for thread in threading.enumerate()}
    left = 2 if moment == "waiting" else 1
    assert len(folder.protocols()) == left
    assert folder.statuses() == [FINISHED] * left + [KILLED] * (3 - left)


def test_nothing_is_finished_while_a_latency_is_measured(recorded, folder, cells, run_cli):
    analyses = folder.runs(KIND, "analysis")
    folder.trash(KIND, "analysis", method=next(
        run.params["method"] for run in analyses if "uniform" in run.params["method"]
    ))  # fmt: skip
    seen = []

    def measured():
        seen.append(folder.protocols())
        return len(seen) == 10

    cells["analysis"] = measured
    cells[FULL] = lambda: SOURCE in folder.protocols()
    status, _, err = run_cli(*command(*ON_ENGINE))
    assert status == 0, err
    assert seen == [set()] * 10
    assert folder.rows() == rows(recorded)


def test_equal_images_and_weights_are_read_once(folder, cells, run_cli, monkeypatch):
    read = []

    def counted(name, function):
        return lambda *args: read.append(name) or function(*args)

    for module, name in ((loaded_task, "load_domain_images"), (preparation, "given_weights")):
        monkeypatch.setattr(module, name, counted(name, getattr(module, name)))
    status, _, err = run_cli(*command(*ON_ENGINE))
    assert status == 0, err
    assert sorted(read) == ["given_weights", "load_domain_images"]


@pytest.mark.parametrize(
    ("change", "shared"),
    [({"method": "uniform", "footprint": 0.4}, True), ({"validation": 0.2}, False),
     ({"target": "digits-0v1"}, False), ({"repair_epochs": 1}, False)],
)  # fmt: skip
def test_images_are_shared_where_the_options_for_them_are_equal(folder, change, shared):
    options = {"source": "digits", "target": "digits-3v8", "weights": "../source.safetensors"}
    one = prepare(options, Display())
    other = prepare({**options, **change}, Display(), before=[one])
    assert (other.loaded.train is one.loaded.train) == shared
    assert (other.loaded.source_images is None) == ("repair_epochs" not in change)
    assert other.call.given is one.call.given


def test_a_wave_runs_what_is_timed_first_and_tells_which_adaptations_are_complete(monkeypatch):
    def cell(kind, key):
        return Cell(kind, {"target": "somewhere"}, key=key)

    ready = [[cell("training", "a"), cell("training", "b")], [cell("analysis", "c")],
             [cell("training", "b")], [cell("training", "lost")]]  # fmt: skip
    monkeypatch.setattr(
        "workbench.experiments.engines.waves.ready_cells", lambda one, lacking, done: ready[one]
    )
    log = CellLog(finished={"lost"})
    wave = next_wave(dict(enumerate(range(4))), [[]] * 4, log)
    assert isinstance(wave, Wave)
    assert [each.key for each in wave.cells] == ["c", "a", "b"]
    assert list(log.failures) == ["lost"]
    assert wave.is_timed
    assert wave.end(wave.cells[0]) == [1]
    assert not wave.is_timed
    assert wave.end(wave.cells[2]) == [2]
    assert wave.end(wave.cells[1]) == [0]


@pytest.mark.parametrize(("stages", "early"), [((), True), (("int8",), False)])
def test_stages_are_timed_after_all_cells(stages, early):
    deployment = SimpleNamespace(stages=stages)
    task = SimpleNamespace(settings=SimpleNamespace(deployment=deployment))
    one = SimpleNamespace(prepared=SimpleNamespace(call=SimpleNamespace(task=task)))
    assert adaptations._is_complete(one, []) == early
    assert not adaptations._is_complete(one, ["a step"])
