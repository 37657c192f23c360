"""Which stages are applied to which networks, and what is said about the others."""

import pytest

from workbench.adaptation.stage_options import check_applied, follows, skipped_networks
from workbench.deployment.stage_names import STAGES
from workbench.training.protocols import PROTOCOLS

BASE = ("adapt", "--source", "digits", "--target", "digits-3v8")


@pytest.mark.parametrize("name", STAGES)
def test_only_stages_without_training_are_applied_to_untrained_networks(name):
    stage = STAGES[name]
    assert follows(stage, PROTOCOLS["pfa-fine"])
    for untrained in ("source", "pfa-source"):
        assert follows(stage, PROTOCOLS[untrained]) is not stage.trains


def test_a_stage_that_no_network_gets_is_a_problem():
    assert check_applied(("int8", "mixed", "multi-exit"), ("source",)) == []
    assert check_applied(tuple(STAGES), ("pfa-fine", "source")) == []
    lines = check_applied(("int8", "sparse", "int8-qat"), ("source", "pfa-source"))
    assert [line.split(":")[0] for line in lines] == ["--stages sparse", "--stages int8-qat"]
    assert "(source, pfa-source)" in lines[0]


def test_skipped_networks_are_named_in_one_line():
    assert skipped_networks(("int8", "multi-exit"), ("source", "pfa-fine")) == []
    assert skipped_networks(("sparse",), ("pfa-fine",)) == []
    assert skipped_networks(("sparse", "int8", "binary"), ("pfa-fine", "source")) == [
        "stages that train (sparse, binary) are not applied to untrained networks (source)"
    ]


@pytest.mark.parametrize(
    "name", ["sparse", "lottery", "supermask", "binary", "int8-qat", "int8,sparse"]
)
def test_a_stage_that_nothing_gets_is_rejected_before_any_training(run_cli, tmp_path, name):
    status, out, err = run_cli(*BASE, "--stages", name, "--protocols", "source")
    assert (status, out) == (2, "")
    assert f"--stages {name.removeprefix('int8,')}: it trains the network, so it is not" in err
    assert "add a protocol that trains, such as pfa-fine" in err
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.parametrize("name", ["int8", "mixed", "multi-exit"])
def test_other_stages_are_applied_to_the_source(run_cli, name):
    status, out, err = run_cli(*BASE, "--stages", name, "--protocols", "source", "--dry-run")
    assert status == 0, err
    assert f"to do   {name} after source, seed 0" in out
    assert "stages that train" not in err


def test_a_skipped_network_that_was_asked_for_is_a_note(run_cli):
    more = ("--stages", "sparse,multi-exit", "--dry-run", "--protocols")
    status, out, err = run_cli(*BASE, *more, "source,pfa-fine")
    assert status == 0, err
    assert "stages that train (sparse) are not applied to untrained networks (source)" in err
    assert "sparse after pfa-fine, seed 0" in out
    assert "sparse after source" not in out
    _, _, err = run_cli(*BASE, *more, "pfa-fine")  # the source is there for comparison
    assert "stages that train" not in err


POINTWISE = """
from torch import nn

def net(num_classes=10):
    return nn.Sequential(
        nn.Conv2d(1, 8, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, num_classes),
    )
"""


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("kernel-clustered", "has no convolution whose kernels can be shared"),
        ("binary", "has 2 layers with weights; use --stages mixed"),
    ],
)
def test_a_network_without_layers_for_a_stage_is_rejected_before_it_is_trained(
    run_cli, tmp_path, monkeypatch, stage, said
):
    (tmp_path / "pointwise.py").write_text(POINTWISE)
    monkeypatch.syspath_prepend(tmp_path)
    short = ("--source-epochs", "1", "--epochs", "1", "--protocols", "full-fine")
    status, out, err = run_cli(*BASE, *short, "--model", "pointwise:net", "--stages", stage)
    assert (status, out) == (2, "")
    assert f"--stages {stage}: " in err
    assert said in err
    assert "full-fine" not in err
