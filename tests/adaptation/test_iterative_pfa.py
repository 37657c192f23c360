"""Iterative PFA through the real command line, and the arithmetic of its steps."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from workbench.compression.recipe_choice.recipe_from_evidence import _part_of_the_way

ADAPT = ["adapt", "--source", "digits", "--target", "digits-3v8", "--source-epochs", 1]
HOW = ["--epochs", 5, "--schedule", "one-cycle", "--batch-size", 64]


@pytest.mark.parametrize(("filters", "wanted"), [(96, 30), (512, 1), (7, 7), (64, 63)])
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_equal_factors_lead_to_what_the_method_wants(filters, wanted, steps):
    width = filters
    for left in range(steps, 0, -1):
        narrower = _part_of_the_way(width, wanted, left)
        assert wanted <= narrower <= width
        assert narrower == wanted or narrower <= math.ceil(width * (wanted / width) ** (1 / left))
        width = narrower
    assert width == wanted


def test_steps_are_trained_once_and_lead_to_a_recipe_of_the_full_network(run_cli):
    more = ["--steps", 2, "--protocols", "pfa-scratch,pfa-fine", "--json"]
    status, out, err = run_cli(*ADAPT, *HOW, *more)
    assert status == 0, err
    assert "step 1 of 2" in err
    result = json.loads(out)
    assert all(0 < row["kept"] < row["filters"] for row in result["recipe"])
    assert all(row["kept_indices"] == sorted(set(row["kept_indices"])) for row in result["recipe"])
    scratch, fine, _ = result["protocols"]
    assert (
        scratch["parameters"]
        == fine["parameters"]
        < 0.9 * scratch["parameters"] / scratch["footprint"]
    )
    status, again, err = run_cli(*ADAPT, *HOW, *more)
    assert status == 0
    assert "5/5" not in err
    assert [p["run_ids"] for p in json.loads(again)["protocols"]] == [
        p["run_ids"] for p in result["protocols"]
    ]
    shot = json.loads(run_cli(*ADAPT, *HOW, "--protocols", "pfa-fine", "--json")[1])
    assert shot["protocols"][0]["run_ids"] != fine["run_ids"]
    assert "steps" not in shot["settings"]


def test_the_recipe_names_filters_of_the_full_network(run_cli):
    """With a learning rate of nothing, what is left is what the source had there."""
    run_cli("train", "--source", "digits", "--epochs", 1, "--out", "source.safetensors")
    still = ["--weights", "source.safetensors", "--fine-lr", 1e-12, "--steps", 3]
    command = ["adapt", "--source", "digits", "--target", "digits-3v8", *HOW, *still]
    status, out, err = run_cli(*command, "--protocols", "pfa-fine", "--json")
    assert status == 0, err
    first, second = json.loads(out)["recipe"][:2]
    path = json.loads(out)["protocols"][0]["weights"]
    source, left = load_file("source.safetensors"), load_file(path)
    name = f"{second['layer']}.weight"
    expected = source[name][second["kept_indices"]][:, first["kept_indices"]]
    torch.testing.assert_close(left[name], expected)


def test_more_steps_than_epochs_are_rejected(run_cli):
    status, out, err = run_cli(*ADAPT, *HOW, "--steps", 6)
    assert (status, out) == (2, "")
    assert "--steps 6: 5 epochs cannot be divided" in err
    status, _, err = run_cli(*ADAPT, *HOW, "--steps", 0)
    assert status == 2
    assert "--steps 0 is too small" in err
