"""Networks of the user's own and of torchvision, through the real command line."""

import json
import sys
from pathlib import Path

import pytest
import torch

from workbench.compression.narrow_networks import load_network
from workbench.errors import WeightsError
from workbench.models.weight_files import read_card

MODULE = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.stem = nn.Conv2d(channels, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.block = nn.Conv2d(12, 12, 3, padding=1)
        self.grouped = nn.Conv2d(12, 16, 3, padding=1, groups=4)
        self.head = nn.Linear(16, classes)

    def forward(self, images):
        stream = torch.relu(self.norm(self.stem(images)))
        stream = torch.relu(stream + self.block(stream))
        return self.head(torch.relu(self.grouped(stream)).mean(dim=(2, 3)))

def small(num_classes, in_channels):
    return Small(num_classes, in_channels)

def two(num_classes):
    layer = nn.Conv2d(1, 1, 1)
    return nn.Sequential(layer, layer, nn.Flatten(), nn.Linear(64, num_classes))

def nothing(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))

def broken(num_classes):
    raise RuntimeError("no such blueprint")

def text():
    return "resnet"

def with_outputs(outputs):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, outputs))

def eleven():
    return with_outputs(11)

def ten(num_classes=10):
    return with_outputs(10)

def chosen(num_classes):
    return with_outputs({10: 10, 2: 2}[num_classes])

def keywords(**options):
    return with_outputs(**{"outputs": options.pop("num_classes"), **options})
"""
ADAPT = ["adapt", "--source", "digits", "--target", "digits-0v1", "--lr", 0.05]
FAST = ["--source-epochs", 2, "--epochs", 2, "--batch-size", 64, "--schedule", "one-cycle"]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's beside the current folder; its name."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / f"{name}_bad.py").write_text("raise ValueError('boom')")
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


def test_a_network_of_the_users_own_is_adapted_and_its_weights_are_taken_away(own, run_cli):
    model = f"{own}:small"
    status, out, err = run_cli(*ADAPT, *FAST, "--model", model, "--json")
    assert status == 0, err
    result = json.loads(out)
    assert result["model"] == model
    stream, grouped = result["recipe"]
    assert stream["shared_by"] == ["stem", "block"]
    assert stream["measured_at"].startswith("addition in")
    assert stream["kept"] % 4 == grouped["kept"] % 4 == 0
    assert stream["kept"] >= stream["wanted"]
    compressed = next(p for p in result["protocols"] if p["protocol"] == "pfa-fine")
    path = Path(compressed["weights"])
    assert read_card(path).widths == (stream["kept"], grouped["kept"])
    with pytest.raises(WeightsError, match="is your own code"):
        load_network(path)
    network = load_network(path, model)
    assert network(torch.zeros(1, 1, 8, 8)).shape == (1, 2)
    assert sum(w.numel() for w in network.parameters()) == compressed["parameters"]
    again = json.loads(run_cli(*ADAPT, *FAST, "--model", model, "--json")[1])
    assert [p["run_ids"] for p in again["protocols"]] == [p["run_ids"] for p in result["protocols"]]


def test_other_code_under_the_same_name_is_another_network(own, run_cli, tmp_path):
    first = run_cli(*ADAPT, *FAST, "--model", f"{own}:small", "--dry-run")[1]
    path = tmp_path / f"{own}.py"
    path.write_text(MODULE.replace("12, 16", "12, 20").replace("Linear(16", "Linear(20"))
    from workbench.compression import narrow_networks as shapes

    for cached in (shapes.structure_of, shapes.definition_of):
        cached.cache_clear()
    before = shapes.definition_of("simplecnn", (1, 8, 8), 10)
    assert before is None
    one = shapes.definition_of(f"{own}:small", (1, 8, 8), 10)
    sys.modules.pop(own)
    shapes.definition_of.cache_clear()
    assert shapes.definition_of(f"{own}:small", (1, 8, 8), 10) != one
    assert "to do" in first


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("{own}_bad:small", "cannot be imported (ValueError: boom)"),
        ("{own}_gone:small", "cannot be imported (ModuleNotFoundError"),
        ("{own}:smal", "cannot be imported (AttributeError"),
        ("{own}:broken", "building it failed (RuntimeError: no such blueprint)"),
        ("{own}:text", "returns str, not a torch.nn.Module"),
        ("{own}:two", "layer '0' runs more than once"),
        ("{own}:nothing", "no layer with filters to remove besides its classifier"),
        ("{own}:eleven", "11 outputs, the source has 10 classes"),
        ("{own}:ten", "has 10 outputs for any number of classes; let its function take"),
        ("torchvision:resnet18", "does not run on 1x8x8 images"),
        ("torchvision:resnet19", "has no classification network 'resnet19'; did you mean"),
        ("torchvision:fasterrcnn_resnet50_fpn", "has no classification network"),
        ("timm:resnet19x", "timm"),
    ],
)
def test_a_network_that_cannot_be_used_is_told_before_anything_is_made(
    own, run_cli, tmp_path, model, message
):
    before = {path.name for path in tmp_path.iterdir()}
    status, out, err = run_cli(*ADAPT, *FAST, "--model", model.format(own=own))
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} - before <= {"__pycache__"}


@pytest.mark.parametrize(
    "options",
    [
        ("--protocols", "full-fine"),
        ("--method", "svd"),
        ("--method", "vib"),
        ("--dry-run",),
        ("--flops", 0.5),
    ],
)
def test_outputs_are_checked_before_every_kind_of_training(own, run_cli, tmp_path, options):
    status, out, err = run_cli(*ADAPT, *FAST, "--model", f"{own}:ten", *options)
    assert (status, out) == (2, "")
    assert "has 10 outputs for any number of classes" in err
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.parametrize("function", ["keywords", "chosen"])
def test_functions_of_any_keywords_or_of_known_numbers_are_used(own, run_cli, function):
    model = f"{own}:{function}"
    status, _, err = run_cli(*ADAPT, *FAST, "--model", model, "--protocols", "full-fine")
    assert status == 0, err


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_method_that_cannot_read_the_network_is_told_before_anything_is_made(own, run_cli, dry):
    command = [*ADAPT, *FAST, "--model", f"{own}:small", "--method", "network-slimming", *dry]
    status, out, err = run_cli(*command)
    assert (status, out) == (2, "")
    assert "has no batch norm with scales, which network-slimming needs; use fp or fpgm" in err


def test_default_weights_are_torchvisions_alone(own, run_cli):
    status, _, err = run_cli(*ADAPT, "--weights", "DEFAULT")
    assert status == 2
    assert "only torchvision's networks have default weights" in err


NORMED = """
from torch import nn
from torch.nn.utils import weight_norm as older
from torch.nn.utils.parametrizations import spectral_norm, weight_norm


def build(num_classes, norm, head=lambda layer: layer):
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(),
        norm(nn.Conv2d(12, 10, 3, padding=1)), nn.ReLU(),
        nn.Conv2d(10, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), head(nn.Linear(8, num_classes)),
    )


def weights(num_classes):
    return build(num_classes, weight_norm)


def spectral(num_classes):
    return build(num_classes, spectral_norm)


def head(num_classes):
    return build(num_classes, weight_norm, weight_norm)


def hooked(num_classes):
    return build(num_classes, older)
"""
ADAPT_NORMED = (
    "adapt", "--source", "digits", "--target", "digits-3v8", "--source-epochs", 1, "--epochs", 1,
    "--batch-size", 64, "--protocols", "full-fine,pfa-scratch,pfa-fine", "--json",
)  # fmt: skip


@pytest.mark.parametrize("function", ["weights", "spectral"])
def test_layers_that_compute_their_weights_keep_their_filters(run_cli, tmp_path, function):
    name = f"normed_{function}"
    (tmp_path / f"{name}.py").write_text(NORMED)
    network = f"{name}:{function}"
    status, out, err = run_cli(*ADAPT_NORMED, "--model", network)
    assert status == 0, err
    result = json.loads(out)
    assert [row["layer"] for row in result["recipe"]] == ["4"]
    status, out, err = run_cli("analyze", *ADAPT_NORMED[1:7], "--model", network, "--json")
    reasons = json.loads(out)["uncompressed"]
    assert reasons.keys() == {"0", "2"}
    assert all(
        "'2' (ParametrizedConv2d), which computes its weights" in r for r in reasons.values()
    )
    assert run_cli("export", result["protocols"][2]["run_ids"][0], "--model", network)[0] == 0


@pytest.mark.parametrize(
    ("function", "said"),
    [("head", "its classifier '8' computes its weights"), ("hooked", "cannot be copied")],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_network_that_cannot_be_taken_apart_is_one_line(run_cli, tmp_path, function, said):
    name = f"normed_{function}"
    (tmp_path / f"{name}.py").write_text(NORMED)
    status, out, err = run_cli(*ADAPT_NORMED, "--model", f"{name}:{function}")
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    assert said in line
    assert "torch.nn.utils.parametri" in line
