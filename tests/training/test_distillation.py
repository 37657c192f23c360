"""Distillation and training for equal compute: the loss, and both protocols from end to end."""

import json

import naive
import pytest
import torch
from torch import nn

from workbench.store.mlflow_store import Store
from workbench.training.distillation import Teacher
from workbench.training.objectives.soft_targets import soft_loss

ADAPT = (
    "adapt", "--source", "digits", "--target", "digits-0v1", "--schedule", "one-cycle",
    "--source-epochs", 1, "--epochs", 2, "--json",
)  # fmt: skip


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_soft_loss_is_the_papers(temperature):
    torch.manual_seed(0)
    ours, wanted = torch.randn(7, 3), 3 * torch.randn(7, 3)
    expected = naive.soft_cross_entropy(ours.tolist(), wanted.tolist(), temperature)
    assert soft_loss(ours, wanted, temperature).item() == pytest.approx(expected, rel=1e-4)
    assert soft_loss(wanted, wanted, temperature).item() == pytest.approx(0, abs=1e-6)


def test_high_temperatures_compare_logits():
    # The paper's limit: at high temperature the gradient is that of half the squared difference
    # of centred logits, over the number of classes.
    torch.manual_seed(1)
    ours, wanted = torch.randn(1, 4, dtype=torch.float64), torch.randn(1, 4, dtype=torch.float64)
    difference = (ours - ours.mean()) - (wanted - wanted.mean())
    limit = difference.square().sum().item() / (2 * 4)
    assert soft_loss(ours, wanted, 1e4).item() == pytest.approx(limit, rel=1e-3)


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 5.0), (1.0, 0.0), (0.25, 3.75)])
def test_the_weight_mixes_labels_and_teacher(weight, expected):
    teacher = Teacher(nn.Identity(), 2.0, weight)
    logits = torch.tensor([[1.0, 2.0]])
    assert teacher.mix(lambda own: torch.tensor(5.0), logits, logits).item() == pytest.approx(
        expected
    )


def test_both_protocols_run_and_are_found_again(run_cli, tmp_path):
    command = (*ADAPT, "--seeds", 2, "--protocols", "pfa-distill,full-fine,pfa-scratch-b")
    status, out, err = run_cli(*command)
    assert status == 0, err
    first = json.loads(out)
    distilled, full, scratch, _ = first["protocols"]
    assert [row["protocol"] for row in first["protocols"]] == [
        "pfa-distill", "full-fine", "pfa-scratch-b", "source",
    ]  # fmt: skip
    assert distilled["footprint"] == scratch["footprint"] < full["footprint"]
    store = Store(None)
    params = {
        run.params["protocol"]: run.params
        for row in first["protocols"]
        for run in map(store.run, row["run_ids"])
    }
    assert params["pfa-distill"]["temperature"] == "1.0"
    assert "temperature" not in params["full-fine"]
    more = full["flops"] / scratch["flops"]
    assert int(params["pfa-scratch-b"]["epochs"]) == round(2 * more) > 2
    status, out, err = run_cli(*command)
    assert status == 0, err
    assert "nothing to train" in err
    assert json.loads(out)["protocols"] == first["protocols"]
    _, out, _ = run_cli(*command, "--dry-run")
    assert {step["state"] for step in json.loads(out)["steps"]} == {"done"}


@pytest.mark.slow
def test_another_temperature_or_rate_is_another_training(run_cli):
    command = (*ADAPT, "--protocols", "pfa-distill")
    first = json.loads(run_cli(*command)[1])["protocols"][0]["run_ids"]
    warm = json.loads(run_cli(*command, "--temperature", 3)[1])["protocols"][0]["run_ids"]
    assert first != warm
    # Another learning rate makes another teacher; the student's own plan has the same rate.
    taught = json.loads(run_cli(*command, "--fine-lr", 0.05)[1])["protocols"][0]["run_ids"]
    assert taught not in (first, warm)


def test_the_teacher_is_trained_once_whatever_is_kept(run_cli):
    command = (*ADAPT, "--protocols", "full-fine,pfa-distill", "--keep-weights", "none")
    status, _, err = run_cli(*command, "--fresh")
    assert status == 0, err
    assert err.count("full-fine · digits-0v1 · seed 0: 2/2") == 1
    _, out, _ = run_cli(*ADAPT, "--protocols", "pfa-distill", "--epochs", 3, "--dry-run")
    steps = {step["step"]: step["state"] for step in json.loads(out)["steps"]}
    assert steps["teacher: full-fine, seed 0"] == "to do"


def test_a_teacher_whose_weights_were_dropped_is_trained_again(run_cli):
    assert run_cli(*ADAPT, "--protocols", "full-fine", "--keep-weights", "none")[0] == 0
    status, out, err = run_cli(*ADAPT, "--protocols", "pfa-distill")
    assert status == 0, err
    assert json.loads(out)["protocols"][0]["protocol"] == "pfa-distill"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--temperature", 0], "--temperature 0 is not a positive number"),
        (["--distill-weight", 1.5], "--distill-weight 1.5 is not within [0, 1]"),
        (["--first-seed", -1], "--first-seed -1 is negative"),
        (["--seeds", -1, "--first-seed", 5], "--seeds -1 is too small"),
        (["--steps", 2, "--method", "uniform"], "--steps 2: PFA-KL's footprint changes"),
    ],
)
def test_a_wrong_number_is_one_line(run_cli, options, line):
    status, _, err = run_cli(*ADAPT, *options)
    assert status == 2
    assert line in err
    assert err.count("\n") == 1
