"""A network of the user's own with a branch that noise never takes, through the command line."""

import sys

import pytest
from safetensors.torch import save_file

from workbench.models.networks import build_network
from workbench.store.mlflow_store import Store
from workbench.store.run_tags import KIND
from workbench.store.runs import FAILED, FINISHED

MODULE = """
import torch
from torch import nn

class Branching(nn.Module):
    def __init__(self, classes, channels, least, most):
        super().__init__()
        self.least, self.most = least, most
        self.stem = nn.Conv2d(channels, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.block = nn.Conv2d(8, 8, 3, padding=1)
        self.extra = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, classes)

    def forward(self, images):
        x = torch.relu(self.norm(self.stem(images)))
        x = torch.relu(self.block(x))
        if self.least < images.mean() < self.most:
            x = torch.relu(self.extra(x))
        return self.head(x.mean(dim=(2, 3)))

def never(num_classes, in_channels):
    return Branching(num_classes, in_channels, 9, 9)

def often(num_classes, in_channels):  # a batch of 256 digits is about as bright as all of them
    return Branching(num_classes, in_channels, -0.03, 0.03)

def rarely(num_classes, in_channels):  # few batches of 8 digits are so bright
    return Branching(num_classes, in_channels, 0.06, 9)
"""
ADAPT = (
    "adapt", "--source", "digits", "--target", "digits-0v1", "--schedule", "one-cycle", "--epochs",
    5, "--batch-size", 8, "--lr", 0.01, "--protocols", "full-fine,pfa-fine",
)  # fmt: skip


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of the user's in the current folder; its name."""
    name = f"branching_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return name


@pytest.fixture
def weights(module, tmp_path):
    """A weight file that fits all networks of the module: nobody has watched its training."""
    path = tmp_path / "source.safetensors"
    model = build_network(f"{module}:never", (1, 8, 8), 10)
    save_file(model.state_dict(), path)
    return path


def runs_by_kind():
    """Status of every run but the adaptation's own, by its kind."""
    store = Store("sqlite:///mlruns/mlflow.db")
    runs = [run for name in ("digits", "digits-0v1") for run in _runs(store, name)]
    return {(run.tags[KIND], run.params["protocol"]): run.status for run in runs}


def _runs(store, name):
    return [run for run in store.runs([store.experiment(name)], {}) if run.tags[KIND] != "adapt"]


def rejected(result):
    status, out, err = result
    assert (status, out) == (2, "")
    line = err.splitlines()[-1]
    assert "Branching: which layers run depends on the image's values" in line
    assert "layer 'extra' runs where 'head' is expected" in line
    assert line.endswith("use another --model")
    assert "Traceback" not in err


def test_a_branch_that_the_analysed_images_take_stops_the_analysis(module, weights, run_cli):
    rejected(run_cli(*ADAPT, "--model", f"{module}:often", "--weights", weights))
    assert runs_by_kind() == {("analysis", "analysis"): FAILED}


def test_a_branch_that_batches_of_a_training_take_stops_the_training(module, weights, run_cli):
    rejected(run_cli(*ADAPT, "--model", f"{module}:rarely", "--weights", weights))
    found = runs_by_kind()
    assert found.pop(("analysis", "analysis")) == FINISHED
    assert list(found.values()) == [FAILED]


@pytest.mark.parametrize("command", ["adapt", "train"])
def test_a_branch_stops_the_training_of_a_source_network(module, run_cli, command):
    train = ("train", "--source", "digits", "--epochs", 1, "--out", "w.safetensors")
    command = (*ADAPT, "--source-epochs", 1) if command == "adapt" else train
    rejected(run_cli(*command, "--model", f"{module}:often"))
    assert runs_by_kind() == {("source", "source"): FAILED}


def test_a_network_without_a_branch_is_adapted(module, weights, run_cli):
    status, _, err = run_cli(*ADAPT, "--model", f"{module}:never", "--weights", weights)
    assert status == 0, err
    assert set(runs_by_kind().values()) == {FINISHED}
