"""A store that version 0.1.0 recorded is read, and nothing in it is trained again.

``store-0.1.0.tar.xz`` was recorded at commit 5574f07 by the commands below, on one thread; it
holds the store, the module of its network and the rows of its bench, which was one command then.
"""

import csv
import json
import sqlite3
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

import workbench
from workbench.errors import WeightsError
from workbench.models.weight_files import read_card
from workbench.store.mlflow_store import Store

RECORDED_IN = "/recorded"
NETWORK = "--source digits --model tiny_network:build --source-epochs 1 --schedule one-cycle "
NETWORK += "--precision fp32 --device cpu"
TRAINING = f"{NETWORK} --epochs 2 --batch-size 64 --lr 0.05"
COMMANDS = {
    "four protocols": f"adapt {TRAINING} --target digits-3v8 --seeds 2",
    "a teacher": f"adapt {TRAINING} --target digits-3v8 --method pfa-en --energy 0.9 "
    "--protocols pfa-fine,pfa-distill,source",
    "steps": f"adapt {TRAINING} --target digits-0v1 --steps 2 --method uniform --footprint 0.5 "
    "--protocols pfa-fine,pfa-scratch-b --head new",
}
ANALYSIS = f"analyze {NETWORK} --target digits-odd --method pfa-en --footprint 0.4 --multiple-of 2"
BENCH = f"bench {TRAINING} --target digits-3v8 --methods "
#: PFA-KL has had budgets of its own since; its rows at a share were those of PFA-En.
BENCHES = (f"{BENCH}pfa-kl,fp --footprints pfa-kl", f"{BENCH}pfa-en,fp --footprints 0.5")


@pytest.fixture
def old_store(tmp_path, monkeypatch):
    """The recorded store under the current folder, its artifacts' addresses put right."""
    with tarfile.open(Path(__file__).with_name("store-0.1.0.tar.xz")) as archive:
        archive.extractall(tmp_path, filter="data")
    with closing(sqlite3.connect("mlruns/mlflow.db")) as database, database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)",
                (RECORDED_IN, str(tmp_path)),
            )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tiny_network", raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)
    sys.modules.pop("tiny_network", None)


def runs():
    store = Store()
    return {run.run_id: run for run in store.runs(list(store.experiments().values()), {})}


def test_every_adaptation_is_found_again_and_trains_nothing(old_store, run_cli):
    before = runs()
    for command in COMMANDS.values():
        status, out, err = run_cli(*command.split(), "--json")
        assert status == 0, err
        found = json.loads(out)
        assert found["trained"] == 0
        assert found["run_id"] in before
    status, _, err = run_cli(*ANALYSIS.split())
    assert status == 0, err
    assert runs().keys() == before.keys()


def read_rows(path):
    with open(path, newline="") as file:
        return {row["cell"]: row for row in csv.DictReader(file)}


def test_rows_of_a_bench_are_found_again(old_store, run_cli):
    before = runs()
    rows = read_rows("results/data/cells.csv")
    for command in BENCHES:
        status, out, err = run_cli(*command.split(), "--results", "results")
        assert status == 0, err
        assert out.endswith(": written\n")
    found = read_rows("results/data/cells.csv")
    assert all(rows[cell].items() <= found[cell].items() for cell in rows)
    # The bench of an earlier version had no row of the untrained source.
    assert {found[cell]["protocol"] for cell in found.keys() - rows.keys()} == {"source"}
    after = runs()
    assert all(not after[run].metrics.get("train_seconds") for run in after.keys() - before.keys())


def test_networks_of_an_old_run_are_exported(old_store, run_cli):
    network = ("--model", "tiny_network:build")
    adaptation = next(
        run for run in runs().values()
        if run.tags["workbench.kind"] == "adapt" and run.params["method"] == "pfa-kl"
    )  # fmt: skip
    status, out, err = run_cli("export", adaptation.run_id, *network, "--out", "net.safetensors")
    assert status == 0, err
    assert "agree on 100.0 %" in out


def test_networks_of_an_old_run_become_models_when_they_are_registered(old_store, monkeypatch):
    import mlflow

    before = set(old_store.rglob("weights.safetensors"))
    trained = [run for run in runs().values() if run.params.get("protocol") == "pfa-fine"]
    run = next(run for run in trained if run.tags["workbench.weights"] == "kept")
    weights = Path(run.artifact("weights.safetensors"))
    done = workbench.register(run.run_id, name="old")
    assert done.version.run_id == run.run_id
    (copy,) = set(old_store.rglob("weights.safetensors")) - before
    assert copy.samefile(weights)
    assert Store().fetch(Store().run(run.run_id), "weights.safetensors") == copy
    monkeypatch.setenv("MLFLOW_TRACKING_URI", Store().address)
    with pytest.raises(WeightsError, match="WORKBENCH_MODEL"):
        mlflow.pyfunc.load_model("models:/old@champion")
    monkeypatch.setenv("WORKBENCH_MODEL", "tiny_network:build")
    model = mlflow.pyfunc.load_model("models:/old@champion")
    answer = model.predict(np.zeros((2, 8, 8, 1), np.uint8))
    assert tuple(answer.columns) == read_card(weights).classes
    assert answer.sum(axis=1).tolist() == pytest.approx([1, 1])
