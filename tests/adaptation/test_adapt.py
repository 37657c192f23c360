"""The main job, end to end on real digits through the real command line."""

import io
import json
import re
from pathlib import Path

import pytest

import workbench
from workbench.store.mlflow_store import Store
from workbench.store.runs import FINISHED

WHAT = ("--source", "digits", "--target", "digits-0v1", "--schedule", "one-cycle")
SOURCE = ("--source-epochs", "1")
PROTOCOL = ("--epochs", "2", "--batch-size", "32")
BASE = ("adapt", *WHAT, *SOURCE, *PROTOCOL)
PROTOCOLS = ["full-scratch", "full-fine", "pfa-scratch", "pfa-fine"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder in which one adaptation with two seeds was run."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def at_home(home, monkeypatch):
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def result(at_home, run_cli):
    """The JSON result of the adaptation; run once, read from the store afterwards."""
    status, out, err = run_cli(*BASE, "--seeds", "2", "--json")
    assert status == 0, err
    return json.loads(out)


def runs(kind=None):
    store = Store()
    tags = {"workbench.kind": kind} if kind else {}
    return store.runs(list(store.experiments().values()), tags)


def weights(run):
    return Path(run.artifact("weights.safetensors"))


def test_the_result_has_every_protocol_and_every_figure(result):
    assert [row["protocol"] for row in result["protocols"]] == [*PROTOCOLS, "source"]
    assert len(result["protocols"][4]["accuracies"]) == 1  # all seeds would be the same
    for row in result["protocols"][:4]:
        assert len(row["accuracies"]) == len(row["run_ids"]) == 2
        assert row["accuracy_mean"] == pytest.approx(sum(row["accuracies"]) / 2)
        low, high = row["accuracy_interval"]
        assert 0 <= low <= row["accuracy_mean"] <= high <= 1
        assert row["latency_ms"] > 0
        assert row["latency_64_ms"] > 0
        assert row["train_seconds"] > 0
    full, small = result["protocols"][1], result["protocols"][3]
    assert full["footprint"] == full["flops_ratio"] == 1
    assert small["footprint"] == small["parameters"] / full["parameters"] < 1
    assert small["flops"] < full["flops"]
    assert result["recommended"] in (*PROTOCOLS, "source")
    assert {"source", "target", "model", "method", "settings"} <= result.keys()


def test_the_recipe_and_the_trained_network_agree(result):
    kept = [row["kept"] for row in result["recipe"]]
    assert all(0 < row["kept"] <= row["filters"] for row in result["recipe"])
    assert [len(row["kept_indices"]) for row in result["recipe"]] == kept
    model = workbench.load_network(result["protocols"][3]["weights"])
    layers = [module.out_channels for module in model.modules() if hasattr(module, "out_channels")]
    assert layers == [*kept, 2]
    assert sum(p.numel() for p in model.parameters()) == result["protocols"][3]["parameters"]


def test_the_kept_weights_have_the_accuracy_that_is_reported(result):
    from workbench.data.catalog import SOURCES
    from workbench.data.known_sets import load_images
    from workbench.models.processor import resolve_processor
    from workbench.training.evaluation import evaluate

    test = load_images("digits", "test", None).of_classes(("0", "1"), "digits")
    for row in result["protocols"]:
        model = workbench.load_network(row["weights"])
        hits = evaluate(model, test, SOURCES["digits"], resolve_processor("cpu", "fp32")).hits
        assert hits / len(test) in row["accuracies"]


def test_a_second_identical_call_trains_nothing_and_says_so(result, run_cli):
    before = {run.run_id for run in runs()}
    status, out, err = run_cli(*BASE, "--seeds", "2", "--json")
    assert status == 0
    assert "nothing to train" in err
    again = json.loads(out)
    assert again["trained"] == 0
    assert again["protocols"] == result["protocols"]
    assert {run.run_id for run in runs()} == before


def test_the_store_holds_one_parent_its_children_and_the_source(result):
    (parent,) = [run for run in runs("adapt") if run.run_id == result["run_id"]]
    children = [run for run in runs() if run.parent == parent.run_id]
    assert parent.name == "digits-0v1 · simplecnn · pfa-kl"
    assert len([run for run in children if run.tags["workbench.kind"] == "protocol"]) == 9
    assert len([run for run in children if run.tags["workbench.kind"] == "analysis"]) == 1
    assert len(runs("source")) == 1
    assert {run.status for run in (parent, *children)} == {FINISHED}
    assert "| pfa-fine |" in parent.tags["mlflow.note.content"]
    folder = Path(parent.artifact(""))
    for name in ("recipe.json", "spectra.json", "settings.json", "accuracy.png", "filters.png"):
        assert (folder / name).stat().st_size > 0


def test_children_carry_what_people_filter_and_sort_by(result):
    trained = [run for run in runs("protocol") if run.params["protocol"] != "source"]
    for run in trained:
        assert run.params["domain"] == "digits-0v1"
        assert run.params["protocol"] in PROTOCOLS
        assert run.params["method"] == ("pfa-kl" if "pfa" in run.params["protocol"] else "none")
        assert {"seed", "model", "epochs", "schedule", "threads", "precision"} <= run.params.keys()
        assert {
            "test_accuracy", "parameters", "footprint", "flops", "flops_ratio", "latency_ms",
            "latency_64_ms",
            "train_seconds", "train_loss", "lr",
        } <= run.metrics.keys()  # fmt: skip
    history = Store()._client.get_metric_history(trained[0].run_id, "train_loss")
    assert sorted(point.step for point in history) == [1, 2]


def test_data_sets_are_logged_as_inputs(result):
    run = Store()._client.get_run(result["protocols"][0]["run_ids"][0])
    names = {(item.dataset.name, item.tags[0].value) for item in run.inputs.dataset_inputs}
    assert names == {("digits-0v1 train", "training"), ("digits-0v1 test", "test")}


def test_only_the_best_seed_of_a_protocol_keeps_its_weights(result):
    for row in result["protocols"][:4]:
        kept = [run for run in runs("protocol") if run.run_id in row["run_ids"]]
        states = [run.tags["workbench.weights"] for run in kept]
        assert sorted(states) == ["dropped", "kept"]
        assert [weights(run).is_file() for run in kept] == [state == "kept" for state in states]


def test_nothing_is_left_in_the_work_folder(result, at_home):
    assert not list((at_home / "mlruns/work").iterdir())


def test_another_adaptation_reuses_what_does_not_depend_on_the_method(result, run_cli):
    status, out, err = run_cli(*BASE, "--method", "pfa-en", "--energy", "0.8", "--json")
    assert status == 0
    other = json.loads(out)
    assert other["trained"] == 2
    assert "reused" in err
    mine, theirs = (row["protocols"] for row in (result, other))
    assert theirs[0]["run_ids"] == mine[0]["run_ids"][:1]
    assert theirs[1]["accuracies"] == mine[1]["accuracies"][:1]
    assert theirs[3]["parameters"] != mine[3]["parameters"]
    (parent,) = [run for run in runs("adapt") if run.run_id == other["run_id"]]
    assert mine[0]["run_ids"][0] in parent.tags["mlflow.note.content"]
    assert parent.metrics["accuracy_mean/full-fine"] == theirs[1]["accuracy_mean"]


def test_weights_that_no_longer_match_their_hash_are_trained_again(result, run_cli):
    row = result["protocols"][2]
    path = Path(row["weights"])
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    status, out, _ = run_cli(*BASE, "--seeds", "2", "--json")
    again = json.loads(out)
    assert (status, again["trained"]) == (0, 1)
    assert again["protocols"][2]["accuracies"] == row["accuracies"]


def test_a_dry_run_says_what_is_done_and_changes_nothing(result, run_cli, at_home, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in at_home.rglob("*") if path.is_file()}
    status, out, _ = run_cli(*BASE, "--seeds", "3", "--dry-run", "--json")
    states = {row["step"]: row["state"] for row in json.loads(out)["steps"]}
    assert status == 0
    assert states["analysis: pfa-kl"] == states["pfa-fine, seed 1"] == "done"
    assert states["pfa-fine, seed 2"] == states["full-scratch, seed 2"] == "to do"
    after = {path: path.stat().st_mtime_ns for path in at_home.rglob("*") if path.is_file()}
    assert {p for p in after if before.get(p) != after[p]} <= {at_home / "mlruns/mlflow.db.lock"}
    assert before.keys() <= after.keys()


def test_a_dry_run_in_an_empty_folder_creates_nothing(run_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = run_cli(*BASE, "--dry-run")
    assert status == 0
    assert "7 of 7 steps to do" in out
    assert not list(tmp_path.iterdir())


def test_people_get_a_table_a_verdict_and_the_next_commands(result, run_cli):
    status, out, _ = run_cli(*BASE, "--seeds", "2")
    assert status == 0
    for protocol in PROTOCOLS:
        assert re.search(rf"{protocol} +\d+\.\d\d % ± \d+\.\d\d", out)
    assert re.search(r"(fine|scratch): \d+\.\d\d % ± ", out.split("Student's t")[1])
    assert "workbench ui" in out
    assert "weights.safetensors" in out


def test_compare_draws_the_table_and_the_charts(result, run_cli, at_home):
    status, out, err = run_cli("compare", "--target", "digits-0v1", "--figure", "both.png")
    assert status == 0, err
    rows = [line for line in out.splitlines() if line.startswith(" digits-0v1")]
    assert {row.split()[1] for row in rows} == {"simplecnn"}
    assert len([row for row in rows if "pfa-fine" in row and "pfa-kl" in row]) == 1
    assert (at_home / "both.png").read_bytes().startswith(b"\x89PNG")


def test_compare_says_when_there_is_nothing(result, run_cli):
    status, _, err = run_cli("compare", "--target", "digits-odd")
    assert (status, "no finished run for digits-odd" in err) == (2, True)


def test_clean_removes_only_what_no_run_refers_to(result, run_cli, at_home, monkeypatch):
    stray = at_home / "mlruns/artifacts/digits" / ("0123456789abcdef" * 2)
    orphan, foreign = (at_home / "mlruns/work" / (digit * 64) for digit in "ab")
    thesis, models = at_home / "mlruns/work/thesis", at_home / "mlruns/artifacts/digits/models"
    for folder in (stray, orphan, foreign, thesis, models):
        folder.mkdir(exist_ok=True)
        (folder / "file").write_bytes(b"x" * 1000)
    (orphan / "store").write_text(Store().address)
    (foreign / "store").write_text("http://another.server")
    before = sorted(at_home.rglob("*.safetensors"))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    status, _, err = run_cli("clean")
    assert (status, "nothing was removed; use --yes" in err) == (2, True)
    status, out, _ = run_cli("clean", "--yes")
    assert status == 0
    assert "removed 2 items" in out
    assert not any(folder.exists() for folder in (stray, orphan))
    assert all(folder.exists() for folder in (foreign, thesis, models))
    assert sorted(at_home.rglob("*.safetensors")) == before
    assert "nothing to remove" in run_cli("clean")[1]


def test_the_python_api_gives_the_same_and_can_be_called_twice(result, at_home):
    options = {
        "source": "digits", "target": "digits-0v1", "source_epochs": 1, "epochs": 2,
        "schedule": "one-cycle", "batch_size": 32, "seeds": 2,
    }  # fmt: skip
    for _ in range(2):
        found = workbench.adapt(**options)
        assert found.trained == 0
        assert found.protocols[3].accuracies == tuple(result["protocols"][3]["accuracies"])


def test_analyze_gives_the_recipe_alone(result, run_cli):
    status, out, err = run_cli("analyze", *WHAT, *SOURCE, "--json")
    assert status == 0, err
    assert json.loads(out)["recipe"] == result["recipe"]


def test_fresh_trains_again_and_gets_the_same(result, run_cli):
    status, out, _ = run_cli(*BASE, "--protocols", "full-scratch", "--fresh", "--json")
    again = json.loads(out)
    assert (status, again["trained"]) == (0, 1)
    assert again["protocols"][0]["accuracies"] == result["protocols"][0]["accuracies"][:1]
    assert again["protocols"][0]["run_ids"] != result["protocols"][0]["run_ids"][:1]


def test_no_weights_are_kept_when_none_are_wanted(at_home, result, run_cli):
    status, out, _ = run_cli(
        *BASE, "--protocols", "pfa-scratch", "--keep-weights", "none", "--fresh", "--json"
    )
    row = json.loads(out)["protocols"][0]
    assert (status, row["weights"]) == (0, None)
    (run,) = [run for run in runs("protocol") if run.run_id in row["run_ids"]]
    assert run.tags["workbench.weights"] == "dropped"
    assert not weights(run).exists()


def test_a_new_head_starts_anew_and_inherits_the_rest(result, run_cli):
    status, out, err = run_cli(*BASE, "--protocols", "full-fine", "--head", "new", "--json")
    assert status == 0, err
    row = json.loads(out)["protocols"][0]
    assert row["run_ids"] != result["protocols"][1]["run_ids"][:1]


def test_train_saves_weights_that_adapt_takes(at_home, result, run_cli):
    status, out, err = run_cli(
        "train", "--source", "digits", "--epochs", "1", "--schedule", "one-cycle",
        "--out", "source.safetensors",
    )  # fmt: skip
    assert status == 0, err
    assert "found in the store" in err
    assert re.search(r"source.safetensors: \d+\.\d % test accuracy on digits", out)
    weights_option = ("--weights", "source.safetensors")
    status, out, err = run_cli("adapt", *WHAT, *PROTOCOL, "--seeds", "2", *weights_option, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert found["trained"] == 0, "the same weights from a file are the same source"
    assert found["protocols"] == result["protocols"]
