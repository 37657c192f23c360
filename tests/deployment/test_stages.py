"""Stages after training, end to end on digits through the real command line."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import workbench
from workbench.data.known_sets import load_images
from workbench.deployment.quantisation import int8
from workbench.store.mlflow_store import Store
from workbench.store.stored_results import stored_predictions

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


@pytest.fixture(autouse=True)
def _one_choice(monkeypatch):
    """int8 files are made in one way: test_int8.py tests the choice between several."""
    choices = int8._choices
    monkeypatch.setattr(int8, "_choices", lambda settings: choices(settings)[1:2])


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


def test_the_answers_of_every_file_are_recorded_for_reports(result):
    store = Store()
    for row in result["stages"]:
        for run_id, accuracy in zip(row["run_ids"], row["accuracies"], strict=True):
            found = stored_predictions(store, store.run(run_id))
            assert found.correct.mean() == accuracy


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


def test_the_table_and_the_json_have_the_same_verdict(result, run_cli):
    every = {(row["protocol"], row.get("stage")) for row in result["protocols"] + result["stages"]}
    assert (result["recommended"], result.get("recommended_stage")) in every
    details = result["verdict_details"]
    assert (details["prefer"], details["tolerance"]) == ("speed", 1.0)
    status, out, _ = run_cli(*STAGED)
    assert status == 0
    assert result["verdict"] in out
    for label, reason in details["not_recommended"].items():
        assert f"{label} is not recommended: it {reason}" in out
    rows = [line.split("%")[0] for line in out.splitlines()]
    assert any(row.startswith(" full-fine int8 ") for row in rows)
    assert " compressed   onnx-int8 " in out
    assert (
        "Computed in float32: ReduceMean (1) in full-fine int8, pfa-fine int8, source int8." in out
    )


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
    rows = json.loads(run_cli("compare", "--json")[1])
    runtimes = {row["protocol"]: row["runtime"] for row in rows if row["latency"] is not None}
    assert (runtimes["pfa-fine"], runtimes["pfa-fine int8"]) == ("torch", "onnx-int8")
    one_line = out.replace("\n", " ")
    assert "(torch)" in one_line
    assert "(onnx-int8)" in one_line


def test_the_recommended_file_and_every_stage_answer(result, run_cli, tmp_path):
    image = image_of_a_digit(tmp_path / "digit.png")
    names = [result["run_id"], *(row["weights"] for row in result["stages"])]
    names += [row["run_ids"][-1] for row in result["stages"][:1]]
    for name in names:
        status, out, err = run_cli("predict", name, image)
        assert status == 0, (name, err)
        assert "%" in out
    status, _, err = run_cli("export", result["stages"][0]["run_ids"][-1])
    assert status == 2
    assert "holds the file of a stage" in err


def image_of_a_digit(path):
    digit = load_images("digits", "test", None).pixels[0, 0]
    Image.fromarray((digit.astype(float) * 255 / 16).astype(np.uint8)).save(path)
    return path


def recommended(result):
    wanted = (result["recommended"], result.get("recommended_stage"))
    rows = result["protocols"] + result["stages"]
    return next(row for row in rows if (row["protocol"], row.get("stage")) == wanted)


def test_a_recommended_file_that_is_lost_is_made_again(result, run_cli, tmp_path):
    """``predict`` finds the new one through the adaptation."""
    row = recommended(result)
    assert row.get("stage"), "int8 is three times as fast here"
    path = Path(row["weights"])
    content = path.read_bytes()
    path.unlink()
    again = json.loads(run_cli(*STAGED, "--json")[1])
    assert again["trained"] == 0
    assert Path(recommended(again)["weights"]).read_bytes() == content
    assert recommended(again)["accuracies"] == row["accuracies"]
    image = image_of_a_digit(tmp_path / "digit.png")
    status, _, err = run_cli("predict", again["run_id"], image)
    assert status == 0, err


@pytest.mark.parametrize("name", ["stage.json", "test_hits.json"])
def test_a_stage_with_a_damaged_text_is_made_again(result, run_cli, name):
    now = json.loads(run_cli(*STAGED, "--json")[1])
    row = now["stages"][2]
    Path(row["weights"]).with_name(name).write_text("{")
    again = json.loads(run_cli(*STAGED, "--json")[1])
    assert len({*again["stages"][2]["run_ids"]} - {*row["run_ids"]}) == 1
    assert again["stages"][2]["accuracies"] == row["accuracies"]


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


def test_stages_of_some_seeds_are_shown_and_rejected(result, run_cli):
    """Only the best seed still has weights when a stage is added later."""
    few = ("--calibration-images", "16")
    status, out, err = run_cli(*BASE, "--stages", "mixed", "--mixed-size", "0.2", *few)
    assert status == 0, err
    assert "pfa-fine mixed is not recommended: it was made for 1 of 2 seeds only" in out


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
        (["--int8-for", "arm"], "--int8-for has no effect here"),
        (["--stages", "clustered", "--qat-epochs", "7"], "--qat-epochs has no effect here"),
        (["--runtime", "onnx"], "--runtime onnx has no effect without --latency-ms"),
        (["--runtime", "tpu"], "--runtime: unknown value 'tpu'"),
    ],
)
def test_wrong_options_are_one_line(run_cli, tmp_path, options, message):
    status, out, err = run_cli(*BASE, *options)
    assert (status, out) == (2, "")
    assert message in err
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.parametrize("more", [["--stages", "int8"], ["--latency-ms", "1", "--runtime", "onnx"]])
def test_a_missing_library_is_reported_before_any_training(run_cli, monkeypatch, tmp_path, more):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    status, out, err = run_cli(*BASE, "--method", "pfa-en", *more)
    assert (status, out) == (2, "")
    assert "needs onnxruntime, which is not installed" in err
    assert "pip install 'pfa-workbench[onnx]'" in err
    assert not (tmp_path / "mlruns").exists()


def test_a_size_that_cannot_be_reached_is_reported_before_the_protocols(result, run_cli):
    before = len(runs("protocol"))
    small = ("--epochs", "3", "--stages", "mixed", "--mixed-size", "0.01")
    status, out, err = run_cli(*BASE[:-6], *small)
    assert (status, out) == (2, "")
    assert "--mixed-size 0.01: the smallest file, with 4 bits in every layer" in err
    assert len(runs("protocol")) == before


def test_fine_tuning_with_rounding_is_not_applied_to_the_untrained_source(home):
    from workbench.adaptation.stages.stage_runs import stages_after
    from workbench.training.protocols import PROTOCOLS

    settings = SimpleNamespace(deployment=SimpleNamespace(stages=("int8", "int8-qat")))
    task = SimpleNamespace(settings=settings)
    names = {
        name: [stage.name for stage in stages_after(task, PROTOCOLS[name])]
        for name in ("source", "full-fine")
    }
    assert names == {"source": ["int8"], "full-fine": ["int8", "int8-qat"]}


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnx", "onnx-int8"])
def test_a_latency_budget_in_another_runtime(result, run_cli, monkeypatch, runtime):
    command = (
        "analyze", "--source", "digits", "--target", "digits-3v8", "--schedule", "one-cycle",
        "--source-epochs", "2", "--method", "pfa-en", "--json",
    )  # fmt: skip
    asked = []

    def quick(run, shape, rounds):
        asked.append(rounds)
        return 1.0 if len(asked) % 2 else 0.5

    monkeypatch.setattr("workbench.adaptation.analysis.budget_latency.one_image_ms", quick)
    status, _, err = run_cli(*command, "--latency-ms", "0.7", "--runtime", runtime)
    assert status == 0, err
    assert len(asked) > 3
    assert f"{runtime}: {1.0 if len(asked) % 2 else 0.5:.3g} ms for one image" in err


@pytest.fixture
def kept(result):
    """The training of pfa-fine whose weights were kept."""
    ids = result["protocols"][1]["run_ids"]
    return next(
        each for each in ids if Path(Store().run(each).artifact("weights.safetensors")).exists()
    )


def test_quantize_compares_before_and_after(result, kept, run_cli, tmp_path):
    status, out, err = run_cli("quantize", kept, "--out", tmp_path / "a.onnx", "--tolerance", 100)
    assert status == 0, err
    lines = out.splitlines()
    assert [line.split()[0] for line in lines if " onnx" in line or " torch " in line][:3] == [
        "float32", "float32", "int8",
    ]  # fmt: skip
    assert "written and verified on all 72 test images of digits-3v8: accuracy" in out
    assert re.search(
        r"^int8 is (not )?recommended.*3\.\dx smaller, .* at batch 1", out, re.MULTILINE
    )
    card = (tmp_path / "a.onnx.md").read_text()
    assert f"| origin | run {kept} |" in card
    for part in ("## Input", "## Accuracy", "## Licence", "| float32 | onnx |", "ReduceMean (1)"):
        assert part in card
    dropped = next(each for each in result["protocols"][1]["run_ids"] if each != kept)
    assert run_cli("quantize", dropped, "--out", tmp_path / "b.onnx")[0] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tolerance", "nan"], "--tolerance nan is not within 0 to 100"),
        (["--stage", "int4"], "--stage: unknown value 'int4'"),
        (["--stage", "clustered", "--mixed-size", "0.1"], "--mixed-size has no effect here"),
        (["--stage", "mixed", "--mixed-size", "0.01"], "use --mixed-size 0."),
    ],
)
def test_mistakes_in_quantize_are_one_line(result, kept, run_cli, tmp_path, options, message):
    status, out, err = run_cli("quantize", kept, *options)
    assert (status, out) == (2, "")
    assert message in err
    assert not list(Path().glob("network*"))


def test_an_export_notices_that_the_domain_has_changed(result, home, run_cli):
    """Other classes are no test images of this network; they are not used for its int8 file."""
    domain = home / "domains" / "mine.yaml"
    domain.parent.mkdir()
    domain.write_text("name: mine\nsource: digits\nclasses: ['3', '8']\n")
    few = (*BASE[:3], "--target", "mine", *BASE[5:11], "--protocols", "full-fine", "--json")
    status, out, err = run_cli(*few)
    assert status == 0, err
    run = json.loads(out)["protocols"][0]["run_ids"][0]
    assert "on all 72 test images of mine: " in run_cli("export", run, "--out", "a.safetensors")[1]
    domain.write_text("name: mine\nsource: digits\nclasses: ['8', '3']\n")
    status, out, _ = run_cli("export", run, "--out", "b.safetensors")
    assert status == 0
    assert "verified on 32 noise images" in out
    assert "the domain mine now has other classes than the network: 8, 3" in out
    status, _, err = run_cli("quantize", run)
    assert status == 2
    assert "int8: needs the training images of the network's classes, but the domain mine" in err


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
