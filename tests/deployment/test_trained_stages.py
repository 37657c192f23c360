"""Stages that train with masks or signs, end to end on digits through the real command line."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.adaptation.stages import stage_runs
from workbench.adaptation.stages.stage_work import stage_work
from workbench.data.known_sets import load_images
from workbench.deployment.quantisation.packed_weights import coded_layers, load_packed
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_names import STAGES
from workbench.store.mlflow_store import Store
from workbench.store.stored_results import stored_predictions

BASE = (
    "adapt", "--source", "digits", "--target", "digits-3v8", "--schedule", "one-cycle",
    "--source-epochs", "1", "--epochs", "2", "--batch-size", "64", "--seeds", "1",
    "--method", "uniform", "--footprint", "0.04", "--protocols", "pfa-fine",
)  # fmt: skip
NAMES = ("sparse", "lottery", "supermask", "binary", "kernel-clustered")
SHORT = ("--mask-epochs", "1", "--lottery-rounds", "1", "--binary-epochs", "1")
KERNELS = ("--kernel-epochs", "1", "--kernel-granularity", "8")
STAGED = (*BASE, "--stages", ",".join(NAMES), *SHORT, *KERNELS, "--mask-sparsity", "0.7")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("masked")


@pytest.fixture(scope="module")
def handed_over():
    """What each stage received, by its name."""
    return {}


@pytest.fixture
def result(home, handed_over, monkeypatch, run_cli):
    """The JSON result of an adaptation with all stages; run once, then read from the store."""
    monkeypatch.chdir(home)
    apply = stage_runs.apply_stage

    def noted(name, trained, settings, path):
        handed_over[name] = trained
        return apply(name, trained, settings, path)

    with monkeypatch.context() as patch:
        patch.setattr(stage_runs, "apply_stage", noted)
        status, out, err = run_cli(*STAGED, "--json")
    assert status == 0, err
    return json.loads(out)


def rows_of(result):
    return {row["stage"]: row for row in result["stages"] if row["protocol"] == "pfa-fine"}


def test_every_stage_has_a_row_with_the_size_of_its_file(result):
    assert {(row["protocol"], row["stage"]) for row in result["stages"]} == {
        ("pfa-fine", name) for name in NAMES
    }  # not for the untrained source
    (origin,) = (row for row in result["protocols"] if row["protocol"] == "pfa-fine")
    for name, row in rows_of(result).items():
        path = Path(row["weights"])
        assert path.suffix == ".packed"
        assert path.stat().st_size == row["file_bytes"] < 0.6 * origin["file_bytes"], name
        assert "latencies" not in row  # no speed of its own is claimed
        assert row["flops"] == origin["flops"]


def test_the_accuracy_is_that_of_the_decoded_file(result):
    store = Store()
    for row in result["stages"]:
        (run_id,), (accuracy,) = row["run_ids"], row["accuracies"]
        assert stored_predictions(store, store.run(run_id)).correct.mean() == accuracy
    weights = {
        name: torch.cat(
            [
                layer.weight.reshape(-1)
                for layer in coded_layers(load_packed(row["weights"])).values()
            ]
        )
        for name, row in rows_of(result).items()
    }
    count = len(weights["sparse"])
    for name in ("sparse", "lottery"):
        assert (weights[name] == 0).sum() == round(0.7 * count)
    assert (weights["supermask"] == 0).sum() == pytest.approx(0.7 * count, abs=5)
    assert (weights["binary"] == 0).sum() == 0


def test_a_second_call_reuses_the_files(result, run_cli):
    again = json.loads(run_cli(*STAGED, "--json")[1])
    assert again["stages"] == result["stages"]
    out = run_cli(*STAGED, "--dry-run")[1]
    for name in NAMES:
        assert f"done    {name} after pfa-fine, seed 0" in out
    assert "after source" not in out  # they would train it
    assert "\n0 of " in out


def test_an_option_is_part_of_the_keys_of_its_stages_only(result, run_cli):
    def recorded(*options):
        out = run_cli(*STAGED, *options, "--dry-run")[1]
        return {name for name in NAMES if f"done    {name} after pfa-fine, seed 0" in out}

    assert recorded("--binary", "bnn", "--lottery-rounds", "2") == {
        "sparse", "supermask", "kernel-clustered",
    }  # fmt: skip
    assert recorded("--mask-sparsity", "0.6") == {"binary", "kernel-clustered"}
    for option in ("--kernel-rate", "--kernel-epochs", "--kernel-granularity"):
        assert recorded(option, "3") == set(NAMES) - {"kernel-clustered"}, option


def test_training_from_the_start_without_a_mask_gives_the_trained_network(result, handed_over):
    """So lottery repeats exactly what the protocol did."""
    if not handed_over:
        pytest.skip("the stages of this folder were made by another process")
    trained = handed_over["lottery"]
    first, second = trained.rewind.make(), trained.rewind.make()
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert any(
        not torch.equal(value, trained.network.state_dict()[name])
        for name, value in first.state_dict().items()
    )
    trained.rewind.train(first)
    for name, value in first.state_dict().items():
        assert torch.equal(value, trained.network.state_dict()[name]), name
    assert handed_over["sparse"].rewind is None


def test_predict_reads_every_file(result, run_cli, tmp_path):
    digit = load_images("digits", "test", None).pixels[0, 0]
    image = tmp_path / "digit.png"
    Image.fromarray((digit.astype(float) * 255 / 16).astype(np.uint8)).save(image)
    for row in result["stages"]:
        for name in (row["weights"], row["run_ids"][0]):
            status, out, err = run_cli("predict", name, image)
            assert status == 0, (name, err)
            assert "%" in out


def test_quantize_makes_a_sparse_file_and_rejects_what_needs_the_start(result, run_cli, tmp_path):
    (run_id,) = next(r["run_ids"] for r in result["protocols"] if r["protocol"] == "pfa-fine")
    path = tmp_path / "a.packed"
    made = ("--stage", "sparse", "--mask-epochs", "1", "--mask-sparsity", "0.7", "--out", path)
    status, out, err = run_cli("quantize", run_id, *made)
    assert status == 0, err
    assert f"{path}" in out
    assert abs(path.stat().st_size - rows_of(result)["sparse"]["file_bytes"]) < 5000  # and a card
    for stage in ("lottery", "supermask"):
        status, out, err = run_cli("quantize", run_id, "--stage", stage)
        assert (status, out) == (2, "")
        assert f"--stage {stage} needs the weights that the training started from" in err
        assert f"--stages {stage}" in err
    assert not list(Path().glob("network*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stages", "sparse", "--mask-sparsity", "1"], "--mask-sparsity 1 is not within [0, 1)"),
        (
            ["--stages", "sparse", "--mask-sparsity", "nan"],
            "--mask-sparsity nan is not within [0, 1)",
        ),
        (["--stages", "sparse", "--mask-epochs", "0"], "--mask-epochs 0 is not within 1 to"),
        (["--stages", "lottery", "--lottery-rounds", "0"], "--lottery-rounds 0 is not within"),
        (["--stages", "binary", "--binary", "tern"], "--binary: unknown value 'tern'"),
        (["--stages", "binary", "--binary-epochs", "-1"], "--binary-epochs -1 is not within 1 to"),
        (
            ["--stages", "kernel-clustered", "--kernel-granularity", "1"],
            "--kernel-granularity 1 is not within 2 to 64",
        ),
        (
            ["--stages", "kernel-clustered", "--kernel-rate", "-1"],
            "--kernel-rate -1 is not within 0 to 16",
        ),
        (["--stages", "clustered", "--kernel-rate", "1"], "--kernel-rate has no effect here"),
        (["--stages", "binary", "--mask-sparsity", "0.5"], "--mask-sparsity has no effect here"),
        (["--stages", "lottery", "--mask-epochs", "2"], "--mask-epochs has no effect here"),
        (
            ["--stages", "lottery", "--protocols", "pfa-distill", "--teacher", "source"],
            "--stages lottery: cannot repeat the training of pfa-distill with --teacher source",
        ),
        (
            ["--stages", "lottery", "--protocols", "pfa-distill", "--objective", "mutual"],
            "--stages lottery: cannot repeat the training of pfa-distill with --objective mutual",
        ),
    ],
)
def test_wrong_options_are_one_line(run_cli, tmp_path, options, message):
    status, out, err = run_cli(*BASE, *options)
    assert (status, out) == (2, "")
    assert message in err
    assert not (tmp_path / "mlruns").exists()


def test_the_time_estimate_counts_the_epochs_of_each_stage():
    options = DeploymentSettings(mask_epochs=3, lottery_rounds=2, binary_epochs=7, kernel_epochs=4)
    images = np.zeros(100)
    settings = SimpleNamespace(deployment=options)
    loaded = SimpleNamespace(task=SimpleNamespace(settings=settings), train=images, test=images)

    def work(name, epochs=10):
        return stage_work(loaded, STAGES[name], 1e7, epochs)

    one = (work("lottery", 11) - work("lottery", 10)) / 2  # an epoch of training
    rest = work("clustered")
    epochs_of = {"sparse": 3, "supermask": 3, "binary": 7, "lottery": 20, "kernel-clustered": 4}
    for name, epochs in epochs_of.items():
        assert work(name) - rest == pytest.approx(epochs * one), name


@pytest.mark.slow
def test_lottery_and_supermask_after_distillation(home, run_cli, monkeypatch):
    """The tickets are taught by the teacher of the protocol; a source teaches more classes."""
    monkeypatch.chdir(home)
    taught = (*BASE[:-1], "pfa-distill", *SHORT[:2])
    status, out, err = run_cli(
        *taught, "--stages", "lottery,supermask", "--lottery-rounds", "2", "--json"
    )
    assert status == 0, err
    assert len([r for r in json.loads(out)["stages"] if r["protocol"] == "pfa-distill"]) == 2
    for more in (("--teacher", "source"), ("--objective", "mutual")):
        status, out, err = run_cli(*taught, "--stages", "supermask", *more, "--json")
        assert status == 0, err
