"""--compensate and pfa-source through the real command line, on digits."""

import json

import pytest
import torch
from safetensors.torch import load_file

import workbench
from workbench.store.mlflow_store import Store
from workbench.training.protocols import PROTOCOLS

ADAPT = ("adapt", "--source", "digits", "--target", "digits-3v8", "--weights", "source.safetensors",
         "--epochs", 1, "--schedule", "one-cycle", "--batch-size", 64, "--method", "uniform",
         "--flops", 0.5)  # fmt: skip
FINE = ("--protocols", "pfa-fine,pfa-scratch", "--json")


@pytest.fixture
def compensated(at_home, run_cli):
    """The result with compensation, and the messages; from the store after the first time."""
    status, out, err = run_cli(*ADAPT, *FINE, "--compensate", "--seeds", 2)
    assert status == 0, err
    return json.loads(out), err


@pytest.fixture
def plain(at_home, run_cli):
    status, out, err = run_cli(*ADAPT, *FINE, "--seeds", 2)
    assert status == 0, err
    assert "compensat" not in err
    return json.loads(out)


def run_of(result, protocol):
    row = next(row for row in result["protocols"] if row["protocol"] == protocol)
    return Store().run(row["run_ids"][0])


def test_the_untrained_network_is_a_row_and_says_what_was_done(compensated, run_cli):
    result, first = compensated
    names = [row["protocol"] for row in result["protocols"]]
    assert names == ["pfa-fine", "pfa-scratch", "source", "pfa-source"]
    source, small = result["protocols"][2:]
    assert len(small["accuracies"]) == 1
    assert small["parameters"] < source["parameters"]
    assert small["accuracy_mean"] > 0.6
    assert "8 of 8 reading layers corrected" in first
    assert "9 batch norms estimated again" in first
    status, out, err = run_cli(*ADAPT, *FINE, "--compensate", "--seeds", 2)
    assert status == 0
    assert "nothing to train" in err
    assert "8 of 8 reading layers corrected" in err  # read from the store
    assert "compensation ·" not in err  # not computed again
    status, out, _ = run_cli(*ADAPT, *FINE, "--compensate", "--seeds", 2, "--dry-run")
    states = {step["step"]: step["state"] for step in json.loads(out)["steps"]}
    assert set(states.values()) == {"done"}
    assert "pfa-source, seed 0" in states
    status, out, _ = run_cli("compare", "--target", "digits-3v8")
    assert status == 0
    assert "pfa-source" in out


def test_only_inherited_compressed_networks_depend_on_it(compensated, plain):
    result = compensated[0]
    assert [row["protocol"] for row in plain["protocols"]] == ["pfa-fine", "pfa-scratch", "source"]
    for protocol in ("pfa-scratch", "source"):
        assert run_of(result, protocol).run_id == run_of(plain, protocol).run_id
    assert run_of(result, "pfa-fine").run_id != run_of(plain, "pfa-fine").run_id
    assert run_of(result, "pfa-fine").params["compensate"] == "True"
    assert "compensate" not in run_of(result, "pfa-scratch").params
    assert result["settings"]["compensate"] is True
    assert "compensate" not in plain["settings"]


def test_the_recorded_network_is_the_compensated_one(compensated, run_cli):
    """Untrained, it has kept rows of the source and new columns; it can be exported."""
    result, _ = compensated
    row = result["protocols"][-1]
    state, source = load_file(row["weights"]), load_file("source.safetensors")
    first, second = result["recipe"][:2]
    name = f"{first['layer']}.weight"
    assert torch.equal(state[name], source[name][first["kept_indices"]])
    name = f"{second['layer']}.weight"
    cut = source[name][second["kept_indices"]][:, first["kept_indices"]]
    assert state[name].shape == cut.shape
    assert not torch.allclose(state[name], cut)
    run = row["run_ids"][0]
    status, _, err = run_cli("export", run, "--format", "onnx", "--out", "small.onnx")
    assert status == 0, err
    status, out, err = run_cli("adapt", "--like", run, "--json")
    assert status == 0, err
    assert json.loads(out)["protocols"][0]["run_ids"] == [run]


def test_without_compensation_it_is_run_on_request(at_home, run_cli):
    status, out, err = run_cli(*ADAPT, "--protocols", "pfa-source", "--json")
    assert status == 0, err
    result = json.loads(out)
    assert [row["protocol"] for row in result["protocols"]] == ["pfa-source", "source"]
    state, source = load_file(result["protocols"][0]["weights"]), load_file("source.safetensors")
    first, second = result["recipe"][:2]
    name = f"{second['layer']}.weight"
    cut = source[name][second["kept_indices"]][:, first["kept_indices"]]
    assert torch.equal(state[name], cut)
    table = run_cli(*ADAPT, "--protocols", "pfa-source")[1]
    assert "source: " in table  # the verdict names one of the two


def test_a_new_head_is_drawn_for_each_seed(at_home):
    result = workbench.adapt(
        source="digits", target="digits-3v8", weights="source.safetensors", epochs=1, head="new",
        schedule="one-cycle", batch_size=64, method="uniform", flops=0.5, compensate=True,
        protocols="pfa-fine", seeds=2, fine_lr=1e-12, keep_weights="all",
    )  # fmt: skip
    assert [each.protocol for each in result.protocols] == ["pfa-fine"]
    one, other = (
        load_file(Store().run(run).artifact("weights.safetensors"))
        for run in result.protocols[0].run_ids
    )
    weights = [name for name in one if name.endswith("weight") and one[name].ndim > 1]
    same = [name for name in weights if torch.allclose(one[name], other[name], atol=1e-6)]
    assert set(weights) - set(same) == {"features.26.weight"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--compensate", "--steps", 2), "--compensate with --steps 2: iterative PFA trains"),
        (("--protocols", "pfa-source", "--steps", 2, "--epochs", 2), "--protocols pfa-source: the"),
        (("--protocols", "pfa-source", "--head", "new"), "--protocols pfa-source: its classifier"),
    ],
)
def test_contradictions_are_one_line(at_home, run_cli, options, said):
    method = ("--method", "pfa-kl")
    status, out, err = run_cli(*ADAPT[:-4], *method, *options)
    assert (status, out) == (2, "")
    assert said in err


def test_untrained_protocols_are_those_of_no_training():
    untrained = {name for name, protocol in PROTOCOLS.items() if not protocol.trained}
    assert untrained == {"source", "pfa-source"}
