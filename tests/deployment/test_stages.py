"""Stages after training, end to end on digits through the real command line."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import workbench
from workbench.data.known_sets import load_images
from workbench.store.mlflow_store import Store

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

BASE = (
    "adapt", "--source", "digits", "--target", "digits-3v8", "--schedule", "one-cycle",
    "--source-epochs", "2", "--epochs", "2", "--batch-size", "64",
    "--protocols", "full-fine,pfa-fine", "--seeds", "2",
)  # fmt: skip
STAGED = (*BASE, "--stages", "int8,clustered")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("staged")


@pytest.fixture
def result(home, monkeypatch, run_cli):
    """The JSON result of an adaptation with stages; run once, then read from the store."""
    monkeypatch.chdir(home)
    status, out, err = run_cli(*STAGED, "--json")
    assert status == 0, err
    return json.loads(out)


def runs(kind):
    store = Store()
    return store.runs(list(store.experiments().values()), {"workbench.kind": kind})


def labels(rows):
    return [f"{row['protocol']} {row['stage']}" for row in rows]


def test_every_network_has_a_row_for_every_stage(result):
    assert labels(result["stages"]) == [
        "full-fine int8", "full-fine clustered", "pfa-fine int8", "pfa-fine clustered",
        "source int8", "source clustered",
    ]  # fmt: skip
    trained = {row["protocol"]: row for row in result["protocols"]}
    for row in result["stages"]:
        origin = trained[row["protocol"]]
        assert len(row["accuracies"]) == len(origin["accuracies"])
        assert abs(row["accuracy_mean"] - origin["accuracy_mean"]) < 0.03
        assert row["file_bytes"] < 0.4 * origin["file_bytes"]
        assert Path(row["weights"]).stat().st_size == row["file_bytes"]
        if row["stage"] == "int8":
            assert row["left_float"] == ["ReduceMean (1)"]


def test_latencies_are_measured_in_every_runtime(result):
    for row in result["protocols"]:
        assert set(row["latencies"]) == {"torch", "onnx"}
    for row in result["stages"]:
        expected = {"onnx-int8"} if row["stage"] == "int8" else {"torch", "onnx"}
        assert set(row["latencies"]) == expected
        for times in row["latencies"].values():
            for batch in ("batch_1", "batch_64"):
                found = times[batch]
                assert 0 < found["low"] <= found["median"] <= found["high"] <= found["p95"]
    (run,) = runs("latency")
    assert run.metrics["compressed/int8/batch_1_ms"] > 0


def test_the_verdict_is_over_all_networks(result, run_cli):
    every = [(row["protocol"], row.get("stage")) for row in result["protocols"] + result["stages"]]
    assert (result["recommended"], result.get("recommended_stage")) in every
    status, out, _ = run_cli(*STAGED)
    assert status == 0
    assert result["verdict"] in out
    assert "full-fine int8" in out
    assert "onnx-int8" in out
    assert "In float32 stay ReduceMean (1)" in out
    assert "paired test of the images" in out or "is the most accurate" not in out


def test_a_second_call_makes_nothing(result, run_cli):
    before = {run.run_id: run.status for kind in ("stage", "latency") for run in runs(kind)}
    assert len(before) == 2 * (2 + 2 + 1) + 1
    again = json.loads(run_cli(*STAGED, "--json")[1])
    assert again["stages"] == result["stages"]
    assert {run.run_id: run.status for kind in ("stage", "latency") for run in runs(kind)} == before


def test_without_stages_nothing_changes(result, run_cli):
    """The trainings are found again, and their rows are the same but for the latencies."""
    plain = json.loads(run_cli(*BASE, "--json")[1])
    assert plain["trained"] == 0
    assert "stages" not in plain
    for row, staged in zip(plain["protocols"], result["protocols"], strict=True):
        assert row == {name: value for name, value in staged.items() if name != "latencies"}


def test_only_the_best_seed_keeps_weights_and_files(result):
    kept = [run for run in runs("protocol") if Path(run.artifact("weights.safetensors")).exists()]
    assert sorted(run.params["protocol"] for run in kept) == ["full-fine", "pfa-fine", "source"]
    files = [
        run for run in runs("stage") if Path(run.artifact(run.tags["workbench.file"])).exists()
    ]
    assert len(files) == 2 * len(kept)
    origins = {(run.params["protocol"], run.params["seed"]) for run in kept}
    assert {(run.params["protocol"], run.params["seed"]) for run in files} == origins


def test_hits_of_every_network_are_stored_per_image(result):
    for run in (*runs("protocol"), *runs("stage")):
        saved = json.loads(Path(run.artifact("test_hits.json")).read_text())
        assert len(saved["correct"]) == run.metrics["test_images"]
        assert saved["correct"].count("1") == run.metrics["test_hits"]


def test_the_dry_run_lists_the_stages(result, run_cli):
    status, out, _ = run_cli(*STAGED, "--dry-run")
    assert status == 0
    assert "done    int8 after pfa-fine, seed 1" in out
    assert out.count("clustered after") == 5
    assert "0 of " in out


def test_compare_lists_the_stages(result, run_cli):
    status, out, err = run_cli("compare", "--figure", "all.png")
    assert status == 0, err
    assert "pfa-fine int8" in out
    assert Path("all.png").stat().st_size > 0


def test_the_recommended_file_and_every_stage_answer(result, run_cli, tmp_path):
    digit = load_images("digits", "test", None).pixels[0, 0]
    image = tmp_path / "digit.png"
    Image.fromarray((digit.astype(float) * 255 / 16).astype(np.uint8)).save(image)
    names = [result["run_id"], *(row["weights"] for row in result["stages"])]
    names += [row["run_ids"][-1] for row in result["stages"][:1]]
    for name in names:
        status, out, err = run_cli("predict", name, image)
        assert status == 0, (name, err)
        assert "%" in out
    status, _, err = run_cli("export", result["stages"][0]["run_ids"][-1])
    assert status == 2
    assert "holds the file of a stage" in err


def test_a_file_that_was_damaged_is_made_again(result, run_cli):
    path = Path(result["stages"][2]["weights"])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    again = json.loads(run_cli(*STAGED, "--json")[1])
    assert Path(again["stages"][2]["weights"]).read_bytes() == content
    assert again["stages"][2]["accuracies"] == result["stages"][2]["accuracies"]


@pytest.mark.slow
def test_a_stage_that_fails_leaves_no_file_and_is_repeated(result, run_cli, monkeypatch):
    """The calibration images change, so the stage is made anew; at first the disk is full."""
    attach = Store.attach
    more = (*STAGED, "--calibration-images", "40", "--json")

    def full(self, run_id, path):
        if path.suffix == ".onnx":
            raise OSError(28, "No space left on device", str(path))
        attach(self, run_id, path)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "attach", full)
        status, out, err = run_cli(*more)
    assert (status, out) == (1, "")
    assert "the disk is full" in err
    status, out, _ = run_cli(*more)
    assert status == 0
    assert json.loads(out)["trained"] == 0
    failed = [run for run in runs("stage") if run.status != "FINISHED"]
    assert failed == []


def test_seeds_without_weights_are_named(result, run_cli, monkeypatch):
    """Only the best seed has weights, so a later stage has one seed; it is judged by its pair."""
    few = ("--calibration-images", "16")
    status, out, err = run_cli(*BASE, "--stages", "mixed", "--mixed-size", "0.2", *few)
    assert status == 0, err
    assert "its weights were not kept, so there is no mixed of it" in err
    assert "pfa-fine mixed: 1 of 2 seeds" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stages", "int9"], "--stages: unknown value 'int9'"),
        (["--stages", "int8,int8"], "--stages"),
        (["--stages", "int8", "--keep-weights", "none"], "nothing would be left to deploy"),
        (["--stages", "int8", "--int8-for", "mips"], "--int8-for: unknown value 'mips'"),
        (["--stages", "int8", "--calibration-images", "1"], "is not within 2 to"),
        (["--stages", "mixed", "--mixed-size", "0"], "--mixed-size 0 is not within (0, 1]"),
        (["--prefer", "beauty"], "--prefer: unknown value 'beauty'"),
        (["--runtime", "onnx"], "--runtime onnx has no effect without --latency-ms"),
        (["--runtime", "tpu"], "--runtime: unknown value 'tpu'"),
    ],
)
def test_wrong_options_are_one_line(run_cli, tmp_path, options, message):
    status, out, err = run_cli(*BASE, *options)
    assert (status, out) == (2, "")
    assert message in err
    assert not (tmp_path / "mlruns").exists()


def test_a_missing_library_is_said_before_nothing_is_lost(result, run_cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    status, _, err = run_cli(*STAGED, "--calibration-images", "50")
    assert status == 2
    assert "pip install 'pfa-workbench[onnx]'" in err


@pytest.mark.slow
def test_a_latency_budget_in_another_runtime(result, run_cli, monkeypatch):
    command = (
        "analyze", "--source", "digits", "--target", "digits-3v8", "--schedule", "one-cycle",
        "--source-epochs", "2", "--method", "pfa-en", "--json",
    )  # fmt: skip
    asked = []

    def quick(run, shape, rounds):
        asked.append(rounds)
        return 1.0 if len(asked) % 2 else 0.5

    monkeypatch.setattr("workbench.adaptation.budget_latency.one_image_ms", quick)
    status, _, err = run_cli(*command, "--latency-ms", "0.7", "--runtime", "onnx")
    assert status == 0, err
    assert len(asked) > 3


def test_quantize_says_whether_it_is_worth_it(result, run_cli, tmp_path):
    run = result["protocols"][1]["run_ids"][0]
    best = next(
        each for each in result["protocols"][1]["run_ids"]
        if Path(Store().run(each).artifact("weights.safetensors")).exists()
    )  # fmt: skip
    status, out, err = run_cli("quantize", best, "--out", tmp_path / "a.onnx")
    assert status == 0, err
    assert "int8 is recommended" in out or "int8 is not recommended" in out
    assert "written and verified on all 72 test images of digits-3v8" in out
    card = (tmp_path / "a.onnx.md").read_text()
    assert f"| origin | run {best} |" in card
    for part in ("## Input", "## Accuracy", "## Licence", "| float32 | onnx |", "ReduceMean (1)"):
        assert part in card
    dropped = run if run != best else result["protocols"][1]["run_ids"][1]
    assert run_cli("quantize", dropped, "--out", tmp_path / "b.onnx")[0] == 2


def test_the_example_needs_neither_torch_nor_the_workbench(result, tmp_path):
    example = Path(workbench.__file__).parents[1] / "examples/classify_int8.py"
    if not example.is_file():
        pytest.skip("needs the examples of a checkout")
    images = load_images("digits", "test", None).of_classes(("3", "8"), "digits")
    pixels = (images.pixels[:, 0].astype(float) * 255 / 16).round().astype(np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    row = result["stages"][2]
    blocked = (
        "import runpy, sys; sys.modules.update(torch=None, workbench=None); "
        f"sys.argv[:] = ['x', {row['weights']!r}, {str(tmp_path / 'images.npy')!r}]; "
        f"runpy.run_path({str(example)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = [line.split()[0] for line in done.stdout.splitlines()]
    hits = np.mean([name == "38"[label] for name, label in zip(said, images.labels, strict=True)])
    assert any(abs(hits - accuracy) < 0.03 for accuracy in row["accuracies"])


def test_the_example_is_short():
    example = Path(workbench.__file__).parents[1] / "examples/classify_int8.py"
    if not example.is_file():
        pytest.skip("needs the examples of a checkout")
    spec = importlib.util.spec_from_file_location("example", example)
    assert spec is not None
    code = [line for line in example.read_text().splitlines() if line.strip()]
    assert len(code) <= 40
