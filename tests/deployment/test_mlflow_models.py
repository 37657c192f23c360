"""Networks as MLflow models: served, registered, stored once, and shown in the MLflow UI."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import workbench
from workbench.deployment import served_model
from workbench.errors import DataError, WeightsError
from workbench.models.processor import resolve_processor
from workbench.store.experiment_views import VIEWS, missing_tags
from workbench.store.mlflow_store import Store
from workbench.store.mlflow_ui import show_experiments
from workbench.store.recorder import open_recorder
from workbench.store.runs import MODEL_TAG
from workbench.training.progress import Display

ADAPT = {
    "source": "digits", "target": "digits-3v8", "source_epochs": 1, "epochs": 2, "batch_size": 64,
    "schedule": "one-cycle", "protocols": ("pfa-fine",),
}  # fmt: skip
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A folder with one recorded adaptation, two images, and the id of the adaptation."""
    home = tmp_path_factory.mktemp("recorded")
    store = {"tracking_uri": f"sqlite:///{home}/mlruns/mlflow.db", "output": home / "mlruns/work"}
    run = workbench.adapt(**ADAPT, **store).run_id
    drawing = np.random.default_rng(0)
    for name, size in (("wide.png", (24, 40)), ("small.png", (8, 8))):
        Image.fromarray(drawing.integers(0, 256, size).astype(np.uint8)).save(home / name)
    return home, run


@pytest.fixture
def store(recorded, tmp_path, monkeypatch):
    """The store of a copy of the recorded adaptation, where a test may change it."""
    home, _ = recorded
    monkeypatch.chdir(home)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", Store().address)
    return Store()


def runs(store, kind):
    return store.runs(list(store.experiments().values()), {"workbench.kind": kind})


def pixels(home, name):
    return np.asarray(Image.open(home / name))[None, ..., None]


def predicted(run_cli, run, home, name):
    status, out, err = run_cli("predict", run, home / name, "--json")
    assert status == 0, err
    (row,) = json.loads(out)
    return dict(zip(row["classes"], row["probabilities"], strict=True))


def test_the_scoring_server_answers_what_predict_prints(recorded, store, run_cli):
    import mlflow
    from fastapi.testclient import TestClient
    from mlflow.pyfunc.scoring_server import init

    home, run = recorded
    model = mlflow.pyfunc.load_model(f"runs:/{run}/model")
    with TestClient(init(model)) as client:
        for name in ("wide.png", "small.png"):
            asked = {"inputs": pixels(home, name).tolist()}
            (answer,) = client.post("/invocations", json=asked).json()["predictions"]
            assert answer == pytest.approx(predicted(run_cli, run, home, name), abs=1e-6)
        assert client.post("/invocations", json={"inputs": [[1, 2]]}).status_code == 400


def test_every_kept_network_is_a_model_without_a_pickle(store):
    kept = [run for kind in ("source", "protocol", "adapt") for run in runs(store, kind)]
    assert len(kept) == 4  # the untrained source network is one of the protocols
    for run in kept:
        with store.client("read") as client:
            assert client.get_logged_model(run.tags[MODEL_TAG]).artifact_location == run.model_uri
        weights = Path(run.artifact("weights.safetensors"))
        folder = weights.parent.parent
        names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert names == {
            "MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "input_example.json",
            "serving_input_example.json", "data/weights.safetensors",
        }  # fmt: skip
        described = yaml.safe_load((folder / "MLmodel").read_text())
        assert described["flavors"]["python_function"]["loader_module"] == served_model.__name__
        assert described["run_id"] == run.run_id
        assert described["signature"]["outputs"]
        pins = (folder / "requirements.txt").read_text().splitlines()
        assert f"pfa-workbench=={workbench.__version__}" in pins
        assert all("==" in pin and "+" not in pin for pin in pins)


def test_weights_are_on_the_disk_once(recorded, store):
    home, _ = recorded
    data = defaultdict(set)
    for path in (home / "mlruns").rglob("weights.safetensors"):
        data[path.read_bytes()].add(path.stat().st_ino)
    assert len(data) == 3
    assert all(len(copies) == 1 for copies in data.values())


def test_dropped_weights_have_no_model(recorded, store, tmp_path):
    home, _ = recorded
    shutil.copytree(home / "mlruns", tmp_path / "mlruns")
    _move(tmp_path / "mlruns/mlflow.db", home, tmp_path)
    uri = f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    quiet = Display()
    recorder = open_recorder("digits", resolve_processor("cpu", "fp32"), quiet, uri, None, False)
    run = next(run for run in runs(recorder.store, "protocol") if run.params["epochs"] != "0")
    path = Path(run.artifact("weights.safetensors"))
    assert path.is_relative_to(tmp_path)
    assert path.is_file()
    recorder.drop_weights(run)
    again = recorder.store.run(run.run_id)
    assert (again.tags["workbench.weights"], MODEL_TAG in again.tags) == ("dropped", False)
    assert not path.parent.parent.parent.exists()
    with recorder.store.client("read") as client:
        models = client.search_logged_models([run.experiment])
    assert run.run_id not in {model.source_run_id for model in models}


def _move(database, old, new):
    """Put the addresses of a copied store right."""
    import sqlite3
    from contextlib import closing

    columns = {
        "experiments": "artifact_location", "runs": "artifact_uri",
        "logged_models": "artifact_location",
    }  # fmt: skip
    with closing(sqlite3.connect(database)) as file, file:
        for table, column in columns.items():
            text = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
            file.execute(text, (str(old), str(new)))


def test_a_network_is_registered_once_under_a_name(recorded, store, run_cli):
    import mlflow

    home, run = recorded
    status, out, err = run_cli("register", run, "--name", "pets")
    assert status == 0, err
    assert "pets: version 1, alias champion (registered)" in out
    assert "models:/pets@champion" in out
    assert f"MLFLOW_TRACKING_URI={store.address} mlflow models serve -m models:/pets@cham" in out
    done = workbench.register(run, name="pets", alias="second")
    assert (done.version.number, done.version.new) == (1, False)
    other = next(r.run_id for r in runs(store, "protocol") if r.run_id != done.version.run_id)
    assert workbench.register(other, name="pets").version.number == 2
    assert workbench.register(run, name="pets").version.number == 1
    model = mlflow.pyfunc.load_model("models:/pets@champion")
    (answer,) = model.predict(pixels(home, "small.png")).to_dict("records")
    assert answer == pytest.approx(predicted(run_cli, run, home, "small.png"), abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("RUN", "--name", "a/b"), "--name 'a/b': use letters"),
        (("RUN", "--name", "x' or '1"), "use letters"),
        (("RUN", "--name", "pets", "--alias", "latest"), "reserves this word"),
        (("RUN", "--name", "pets", "--alias", "v2"), "reserves this word"),
        (("RUN", "--name", "pets", "--alias", "a b"), "--alias 'a b': use letters"),
        (("0" * 32, "--name", "pets"), "there is no run"),
        (("small.png", "--name", "pets"), "is a file; name the id of a run"),
        (("ANALYSIS", "--name", "pets"), "has no weights"),
        (("RUN", "--name", "pets", "--tracking-uri", "mlruns"), "no runs in plain folders"),
    ],
)
def test_a_mistake_in_a_registration_is_one_line(recorded, store, run_cli, arguments, words):
    named = {"RUN": recorded[1], "ANALYSIS": runs(store, "analysis")[0].run_id}
    status, _, err = run_cli("register", *(named.get(word, word) for word in arguments))
    assert (status, err.count("\n")) == (2, 1)
    assert words in err


def test_images_of_another_shape_are_rejected(store):
    weights = Path(runs(store, "source")[0].artifact("weights.safetensors"))
    network = served_model._load_pyfunc(str(weights))
    assert network.predict(np.zeros((3, 8, 8, 1), np.uint8)).shape == (3, 10)
    for shape in ((8, 8, 1), (1, 1, 8, 8), (1, 8, 8, 3), (0, 8, 8, 1)):
        with pytest.raises(DataError, match="a batch of shape"):
            network.predict(np.zeros(shape, np.uint8))


def test_a_damaged_file_is_not_served(store, tmp_path):
    weights = Path(runs(store, "source")[0].artifact("weights.safetensors"))
    damaged = tmp_path / "weights.safetensors"
    damaged.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(WeightsError):
        served_model._load_pyfunc(str(damaged))


def test_clean_keeps_registered_models_and_removes_those_of_deleted_runs(
    recorded, tmp_path, run_cli, monkeypatch
):
    home, run = recorded
    shutil.copytree(home / "mlruns", tmp_path / "mlruns")
    _move(tmp_path / "mlruns/mlflow.db", home, tmp_path)
    store = Store()
    for other in runs(store, "protocol"):
        workbench.register(other.run_id, name=f"kept {other.run_id[:4]}")
    source = runs(store, "source")[0]
    with store.client("written") as client:
        for each in (*runs(store, "protocol"), source, *runs(store, "adapt")):
            client.delete_run(each.run_id)
    before = set(tmp_path.glob("mlruns/artifacts/digits/models/m-*"))
    status, out, err = run_cli("clean", "--yes")
    assert status == 0, err
    gone = before - set(tmp_path.glob("mlruns/artifacts/digits/models/m-*"))
    kept = {run.tags[MODEL_TAG] for run in (source, store.run(run))}
    assert {path.name for path in gone} == kept
    assert out.count("model of a run that is gone") == 2
    with store.client("read") as client:
        left = {model.model_id for model in client.search_logged_models([source.experiment])}
    assert not left & kept


def test_an_experiment_gets_its_kind_and_its_views(store):
    with store.client("read") as client:
        tags = client.get_experiment_by_name("digits").tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert missing_tags(tags) == {}
    for view in VIEWS:
        saved = json.loads(tags[f"mlflow.sharedViewState.{view.key}"])
        state = json.loads(saved["state"])
        assert (saved["name"], state["orderByKey"]) == (view.name, view.order)
        assert set(state["selectedColumns"]) >= {
            "params.`domain`", "metrics.`test_accuracy`", "metrics.`footprint`",
            "metrics.`flops_ratio`", "metrics.`latency_ms`", "attributes.`Duration`",
        }  # fmt: skip


def test_experiments_of_earlier_versions_get_them_and_choices_of_the_user_stay(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/mlflow.db")
    number = store.experiment("digits")
    store.end(store.start(number, "run", {"workbench.kind": "adapt"}, {}), "FINISHED")
    store.experiment("somebody else's, without runs")
    view = VIEWS[0].tag
    changed = json.dumps({"name": "mine", "createdAt": 1, "updatedAt": 2, "state": "{}"})
    with store.client("written") as client:
        tags = client.get_experiment(number).tags
        for name in tags:
            client.delete_experiment_tag(number, name)
        client.set_experiment_tag(number, view, changed)
        client.set_experiment_tag(number, "mlflow.experimentKind", "genai_development")
    assert show_experiments(store) == {"digits": number}
    with store.client("read") as client:
        found = client.get_experiment(number).tags
    assert (found[view], found["mlflow.experimentKind"]) == (changed, "genai_development")
    assert found[VIEWS[1].tag] == tags[VIEWS[1].tag]


def test_a_training_records_the_use_of_the_machine(store):
    metrics = runs(store, "source")[0].metrics
    assert 0 < metrics["system/cpu_utilization_percentage"] <= 100
    assert 50 < metrics["system/system_memory_usage_megabytes"] < 1e6


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")
def test_the_printed_pages_show_networks_verdict_charts_and_model(recorded, warm):
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    home, run = recorded
    process = warm.spawn("ui", cwd=home)
    try:
        address = process.stdout.readline().split()[2].split("#")[0]
        pages = [process.stdout.readline().split() for _ in range(3)]
        links = {words[1].strip(":"): words[2] for words in pages}
        assert set(links) == {"adaptations", "networks", "charts"}
        with playwright.sync_playwright() as tool:
            browser = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(60_000)
            _check_pages(page, address, links, run, Store(f"sqlite:///{home}/mlruns/mlflow.db"))
            browser.close()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def _check_pages(page, address, links, run, store):
    page.goto(links["networks"])
    page.get_by_text("pfa-fine · digits-3v8 · seed 0").wait_for()
    names = {text.strip() for text in page.get_by_role("columnheader").all_inner_texts()}
    assert names >= {
        "domain", "protocol", "seed", "test_accuracy", "footprint", "flops_ratio", "latency_ms",
        "Duration",
    }  # fmt: skip
    page.get_by_text("Group: digits-3v8").wait_for()
    page.goto(links["adaptations"])
    page.get_by_text("digits-3v8 · simplecnn · pfa-kl").wait_for()
    assert page.get_by_text("pfa-fine · digits-3v8 · seed 0").count() == 0
    page.goto(links["charts"])
    page.get_by_text("flops_ratio vs. test_accuracy").wait_for()
    # A run that is opened by its address, as from a link in a mail.
    page.goto(f"{address}#/experiments/{store.experiment('digits')}/runs/{run}")
    verdict = page.locator("strong", has_text="% of the parameters")
    verdict.wait_for()
    assert verdict.bounding_box()["y"] < 400
    assert page.get_by_text("Evaluation runs").count() == 0
    page.get_by_text("Show more").first.click()
    page.wait_for_function(
        "() => [...document.querySelectorAll('img[src*=get-artifact]')]"
        ".filter(image => image.naturalWidth > 100).length === 2"
    )
    model = store.run(run).tags[MODEL_TAG]
    page.goto(f"{address}#/experiments/{store.experiment('digits')}/models/{model}")
    page.get_by_text("a probability for each of the classes 3, 8").wait_for()
    page.get_by_text("Ready").wait_for()


@pytest.mark.slow
def test_mlflow_serves_a_registered_network(recorded, store, run_cli):
    home, run = recorded
    workbench.register(run, name="served")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/served@champion"),
        *("--env-manager", "local", "--port", str(port)),
    ]
    root = str(Path(workbench.__file__).parents[1])
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    server = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": root, "PATH": path}, start_new_session=True
    )
    try:
        body = json.dumps({"inputs": pixels(home, "wide.png").tolist()}).encode()
        answer = _answer(f"http://127.0.0.1:{port}/invocations", body)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
    (row,) = answer["predictions"]
    assert row == pytest.approx(predicted(run_cli, run, home, "wide.png"), abs=1e-6)


def _answer(address, body):
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    for _ in range(240):
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return json.load(reply)
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server did not start")
