"""Damaged, changed and removed files of a store: one line each, never a traceback."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking._tracking_service import utils
from PIL import Image

from workbench.errors import printable
from workbench.store import recorder
from workbench.store.mlflow_store import Store
from workbench.store.unfinished_work import Work

BASE = (
    "adapt", "--source", "digits", "--target", "digits-0v1", "--schedule", "one-cycle",
    "--source-epochs", "1", "--epochs", "1", "--batch-size", "32",
    "--protocols", "full-fine,pfa-fine",
)  # fmt: skip
NO_JSON = {
    "empty": lambda text: "",
    "cut off": lambda text: text[: len(text) // 2],
    "nested": lambda text: "[" * 100_000,
    "another kind": lambda text: '{"layers": [{"filters": "x"}]}',
    "binary": lambda text: b"\xff\xfe\x00",
}
damages = pytest.mark.parametrize("damage", NO_JSON)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder in which one adaptation was run; tests work on copies."""
    return tmp_path_factory.mktemp("original")


@pytest.fixture
def result(original, run_cli, tmp_path, monkeypatch):
    """The JSON result of the adaptation, in a store of this test."""
    monkeypatch.chdir(original)
    if not (original / "result.json").exists():
        status, out, err = run_cli(*BASE, "--json")
        assert status == 0, err
        (original / "result.json").write_text(out)
    shutil.copytree(original / "mlruns", tmp_path / "mlruns")
    with closing(sqlite3.connect(tmp_path / "mlruns" / "mlflow.db")) as database, database:
        for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location")):
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)",
                (str(original), str(tmp_path)),
            )
    monkeypatch.chdir(tmp_path)
    utils._artifact_repos_cache.clear()  # MLflow takes it that a run is in one place only
    return json.loads((original / "result.json").read_text())


@pytest.fixture
def image(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "zero.png")
    return tmp_path / "zero.png"


def runs(kind):
    store = Store()
    return store.runs(list(store.experiments().values()), {"workbench.kind": kind})


def artifact(run, name):
    return Path(run.artifact(name))


def spoil(path, damage):
    new = NO_JSON[damage](path.read_text())
    path.write_bytes(new if isinstance(new, bytes) else new.encode())


def change(statement, *values):
    with closing(sqlite3.connect("mlruns/mlflow.db")) as database, database:
        assert database.execute(statement, values).rowcount


def one_line(status, err, code=2):
    assert status == code, err
    (line,) = err.splitlines()
    assert line.startswith("workbench: ")
    return line


def test_a_flipped_bit_is_neither_exported_nor_asked(result, run_cli, image, tmp_path):
    training = result["protocols"][1]["run_ids"][0]
    (run,) = [run for run in runs("protocol") if run.run_id == training]
    path = artifact(run, "weights.safetensors")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    for command in (("export", training, "--out", "a.safetensors"), ("predict", training, image)):
        status, out, err = run_cli(*command)
        line = one_line(status, err)
        assert out == ""
        assert training in line
        assert str(path) in line
        assert "run the same command again" in line
    assert not Path("a.safetensors").exists()
    assert json.loads(run_cli(*BASE, "--json")[1])["trained"] == 1
    again = next(r for r in runs("protocol") if r.name == run.name)
    assert run_cli("export", again.run_id, "--out", "a.safetensors")[0] == 0


@damages
@pytest.mark.parametrize("name", ["spectra.json", "recipe.json"])
def test_a_damaged_analysis_is_measured_again(result, run_cli, name, damage):
    (run,) = runs("analysis")
    spoil(artifact(run, name), damage)
    status, out, err = run_cli(*BASE, "--dry-run", "--json")
    assert status == 0, err
    states = {row["step"]: row["state"] for row in json.loads(out)["steps"]}
    assert states["analysis: pfa-kl"] == "to do"
    status, out, err = run_cli(*BASE, "--json")
    assert status == 0, err
    assert json.loads(out)["recipe"] == result["recipe"]
    assert len(runs("analysis")) == 2


def test_an_analysis_without_its_metrics_is_measured_again(result, run_cli):
    (run,) = runs("analysis")
    for table in ("metrics", "latest_metrics"):
        change(f"DELETE FROM {table} WHERE run_uuid = ? AND key = 'full_flops'", run.run_id)
    status, _, err = run_cli(*BASE, "--json")
    assert status == 0, err
    assert len(runs("analysis")) == 2


@damages
def test_a_damaged_result_is_one_line_and_written_anew(result, run_cli, image, damage):
    (run,) = runs("adapt")
    path = artifact(run, "result.json")
    whole = path.read_text()
    spoil(path, damage)
    for command in (("export", run.run_id), ("predict", run.run_id, image)):
        status, out, err = run_cli(*command)
        line = one_line(status, err)
        assert out == ""
        assert str(path) in line
    status, out, err = run_cli(*BASE, "--json")
    assert (status, json.loads(out)["trained"]) == (0, 0), err
    assert json.loads(path.read_text())["recommended"] == json.loads(whole)["recommended"]
    assert run_cli("export", run.run_id)[0] == 0


@pytest.mark.parametrize(
    "damage",
    [
        damage if damage in ("empty", "cut off") else pytest.param(damage, marks=pytest.mark.slow)
        for damage in NO_JSON
    ],
)
def test_a_damaged_outcome_is_trained_anew(run_cli, tmp_path, monkeypatch, damage):
    def interrupt(*args):
        raise KeyboardInterrupt

    call = ("analyze", *BASE[1:7], "--source-epochs", "1", "--json")
    with monkeypatch.context() as patch:
        patch.setattr(recorder.Recorder, "_record", interrupt)
        assert run_cli(*call)[0] == 130
    work = Work(Path("mlruns/work"), Path("mlruns/mlflow.db.locks"))
    (key,) = work.begun(Store().address)
    assert work.outcome(key) is not None
    weights = work.weights(key).read_bytes()
    work.weights(key).write_bytes(weights[:-9])
    assert work.outcome(key) is None
    work.weights(key).write_bytes(weights)
    spoil(work.folder / key / "outcome.json", damage)
    assert work.outcome(key) is None
    status, out, err = run_cli(*call)
    assert status == 0, err
    assert json.loads(out)["recipe"]


MISSING = {
    "footprint": "DELETE FROM latest_metrics WHERE run_uuid = ? AND key = 'footprint'",
    "seed": "DELETE FROM params WHERE run_uuid = ? AND key = 'seed'",
    "epochs": "UPDATE params SET value = 'many' WHERE run_uuid = ? AND key = 'epochs'",
    "protocol": "UPDATE params SET value = 'none' WHERE run_uuid = ? AND key = 'protocol'",
    "test_hits": "UPDATE latest_metrics SET value = 1e9 WHERE run_uuid = ? AND key = 'test_hits'",
}


@pytest.mark.parametrize("what", MISSING)
def test_compare_leaves_a_damaged_run_out(result, run_cli, what):
    full, *others = (row["run_ids"][0] for row in result["protocols"])
    change(MISSING[what], full)
    status, out, err = run_cli("compare", "--figure", "c.png")
    assert status == 0, err
    (line,) = err.splitlines()
    assert line.startswith(f"warning: run '{full}'")
    assert what in line
    assert "pfa-fine" in out
    assert "full-fine" not in out
    for run_id in others:
        change(MISSING[what], run_id)
    status, out, err = run_cli("compare")
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 4
    assert "no finished run that is not damaged" in err.splitlines()[-1]


@damages
def test_compare_leaves_out_a_damaged_recipe_and_adapt_mends_it(result, run_cli, damage):
    small = result["protocols"][1]["run_ids"][0]
    (run,) = [run for run in runs("protocol") if run.run_id == small]
    spoil(artifact(run, "recipe.json"), damage)
    status, out, err = run_cli("compare")
    assert status == 0, err
    (line,) = err.splitlines()
    assert f"{artifact(run, 'recipe.json')} is damaged" in line
    assert "pfa-fine" not in out
    assert json.loads(run_cli(*BASE, "--json")[1])["trained"] == 0
    assert "pfa-fine" in run_cli("compare")[1]


LOSSES = {
    "removed": lambda: shutil.rmtree("mlruns", ignore_errors=True),
    "emptied": lambda: Path("mlruns/mlflow.db").write_bytes(b""),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("moment", ["LiveMetrics", "fit", "evaluate", "file_hash"])
def test_a_store_that_is_lost_meanwhile_is_one_line(run_cli, monkeypatch, moment, loss):
    work = getattr(recorder, moment)

    def lose(*args, **options):
        LOSSES[loss]()
        return work(*args, **options)

    monkeypatch.setattr(recorder, moment, lose)
    status, out, err = run_cli(*BASE)
    assert (status, out) == (1, "")
    said = [line for line in err.splitlines() if not line.startswith("source")]
    assert len(said) == 1, err
    assert said[0].startswith("workbench: ")
    assert f"was {loss} while the work was going on" in said[0]


@pytest.mark.parametrize(("kind", "name"), [("adapt", "result.json"), ("protocol", "recipe.json")])
def test_a_folder_in_the_place_of_a_file_is_named_until_it_is_removed(result, run_cli, kind, name):
    run = next(run for run in runs(kind) if artifact(run, name).exists())
    path = artifact(run, name)
    path.unlink()
    path.mkdir()
    status, out, err = run_cli(*BASE)
    assert (status, out) == (2, ""), err
    assert f"{path} is a folder in the place of a file; remove it" in err.splitlines()[-1]
    assert "Errno" not in err
    path.rmdir()
    assert run_cli(*BASE)[0] == 0
    assert path.is_file()


def test_reused_trainings_are_counted_in_the_right_number(result, run_cli):
    _, _, err = run_cli(*BASE[:-1], "full-fine", "--epochs", "2")
    assert "1 training found in the store and reused" in err.splitlines()


WRONG_IDS = ("0" * 32, "../../x", "a\x1b[2Jb", "", "1" * 400, "é")


@pytest.mark.parametrize("run_id", WRONG_IDS, ids=ascii)
def test_an_id_of_no_run_is_one_line(result, run_cli, run_id):
    line = one_line(*run_cli("adapt", "--like", run_id)[::2])
    shown = printable(run_id[:60]) + ("..." if len(run_id) > 60 else "")
    assert line.endswith(
        f": there is no run '{shown}' in sqlite:///mlruns/mlflow.db; "
        "'workbench ui' shows runs with their ids"
    )


@pytest.mark.parametrize("command", [("export",), ("predict", "zero.png")])
def test_a_well_formed_id_of_no_run_is_one_line(result, run_cli, image, command):
    for run_id in ("0" * 32, "1" * 200):
        status, _, err = run_cli(command[0], run_id, *command[1:])
        line = one_line(status, err)
        assert line.startswith(f"workbench: there is no run '{run_id[:60]}")
        assert line.endswith(
            "in sqlite:///mlruns/mlflow.db; 'workbench ui' shows runs with their ids"
        )
