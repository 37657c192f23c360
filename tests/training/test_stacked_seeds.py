"""Seeds trained together against the same seeds trained one by one."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from workbench.compression.rebuild import rebuild
from workbench.compression.tracing import find_structure
from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images
from workbench.errors import TrainingError
from workbench.models.networks import build_network
from workbench.models.processor import Processor
from workbench.store.mlflow_store import Store
from workbench.store.runs import FINISHED
from workbench.training import loop as training
from workbench.training import stacked_seeds as together
from workbench.training.distillation import Teacher
from workbench.training.loop import fit
from workbench.training.plans import Plan
from workbench.training.stacked_seeds import Learner, fit_together, pays

DIGITS, CIFAR, CPU = SOURCES["digits"], SOURCES["cifar10"], Processor("cpu", "fp32", 1)
QUICK = (
    "adapt", "--source", "digits", "--target", "digits-0v1", "--schedule", "one-cycle",
    "--source-epochs", 1, "--epochs", 1, "--protocols", "full-scratch",
)  # fmt: skip
PLAN = Plan(2, "one-cycle", 1, 0.05, 16, 5e-4, augment=True)


def images_of(source, number=40, seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, source.white + 1, (number, *source.shape), dtype=np.uint8)
    return Images(pixels, rng.integers(0, 4, number))


def narrow(name, source, seed):
    """A network of a few filters, dropout included."""
    full = build_network(name, source.shape, 4, seed=seed)
    structure = find_structure(full, source.shape)
    widths = [group.buildable(6) for group in structure.groups]
    return rebuild(full, structure.first(widths), structure)


def both(name, source, plan=PLAN, seeds=(3, 5, 8), dtype=torch.float32, **options):
    images = images_of(source)
    stacked = [Learner(narrow(name, source, seed).to(dtype), seed) for seed in seeds]
    losses = fit_together(stacked, images, source, plan, processor=CPU, **options)
    alone = []
    for seed in seeds:
        model = narrow(name, source, seed).to(dtype)
        fitted = fit(model, images, source, plan, seed=seed, processor=CPU, **options)
        alone.append((model, fitted))
    return stacked, losses, alone


@pytest.fixture
def double(monkeypatch):
    """Both ways in float64: what differs then is no rounding."""
    for module in (training, together):
        monkeypatch.setattr(module, "normalise", lambda x, source: normalise(x, source).double())


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("simplecnn", DIGITS),
        ("vgg16", CIFAR),
        pytest.param("torchvision:resnet18", CIFAR, marks=pytest.mark.slow),
        pytest.param("resnet56", CIFAR, marks=pytest.mark.slow),
    ],
)
def test_losses_and_weights_are_those_of_each_seed_alone(double, name, source):
    stacked, losses, alone = both(name, source, dtype=torch.float64)
    for learner, progress, (model, fitted) in zip(stacked, losses, alone, strict=True):
        ours, theirs = ([e.loss for e in p.epochs] for p in (progress, fitted))
        assert ours == pytest.approx(theirs, rel=1e-6)  # sums of losses are kept in fp32
        for (key, value), wanted in zip(
            learner.network.state_dict().items(), model.state_dict().values(), strict=True
        ):
            torch.testing.assert_close(value, wanted, rtol=1e-8, atol=1e-10, msg=key)


def test_in_fp32_the_first_losses_and_gradients_agree_to_rounding():
    # One step at a rate so high that nothing of the initial weights is left but the gradient.
    plan = replace(PLAN, schedule="paper", epochs=1, batch_size=40, learning_rate=1e4)
    stacked, losses, alone = both("vgg16", CIFAR, plan)
    apart = []
    for learner, progress, (model, fitted) in zip(stacked, losses, alone, strict=True):
        assert progress.epochs[0].loss == pytest.approx(fitted.epochs[0].loss, rel=1e-5)
        ours, theirs = (
            torch.cat([value.detach().flatten() for value in each.parameters()])
            for each in (learner.network, model)
        )
        apart.append(float((ours - theirs).norm() / theirs.norm()))
    # The median, because rounding may put one response on the other side of a ReLU.
    assert sorted(apart)[len(apart) // 2] < 1e-5


@pytest.mark.parametrize("name", ["simplecnn", "torchvision:resnet18"])
def test_no_layer_is_done_network_by_network(name):
    source = CIFAR if ":" in name else DIGITS
    learners = [Learner(narrow(name, source, seed), seed) for seed in (0, 1)]
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "There is a performance drop")
            fit_together(learners, images_of(source), source, PLAN, processor=CPU)
    finally:
        torch.set_warn_always(False)


class Reused(nn.Module):
    """One dropout, called twice a pass, as many networks have it."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 8), nn.Linear(8, 4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.last(self.drop(self.drop(x.flatten(1)) @ self.first.weight.T))


def test_a_dropout_that_is_called_twice_cannot_be_stacked():
    learners = [Learner(Reused(), seed) for seed in (0, 1)]
    with pytest.raises(RuntimeError, match="dropout 'drop' is called more than once a pass"):
        fit_together(learners, images_of(DIGITS), DIGITS, PLAN, processor=CPU)


def test_every_seed_draws_its_own_masks_and_order():
    images = images_of(DIGITS)
    same = [Learner(narrow("simplecnn", DIGITS, 0), seed) for seed in (1, 1, 2)]
    fit_together(same, images, DIGITS, PLAN, processor=CPU)
    first, again, other = (next(iter(learner.network.parameters())) for learner in same)
    torch.testing.assert_close(first, again, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(first, other, rtol=1e-3)


def test_a_teacher_and_a_penalty_work_together_too(double):
    teacher = Teacher(narrow("simplecnn", DIGITS, 9).double(), 3.0, 0.7)
    plan = replace(PLAN, sparsity=1e-3)
    stacked, losses, alone = both("simplecnn", DIGITS, plan, dtype=torch.float64, teacher=teacher)
    for learner, progress, (model, fitted) in zip(stacked, losses, alone, strict=True):
        ours, theirs = ([e.loss for e in p.epochs] for p in (progress, fitted))
        assert ours == pytest.approx(theirs, rel=1e-6)
        for value, wanted in zip(learner.network.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-7)


def test_a_loss_that_is_no_number_names_its_seed():
    images = images_of(DIGITS)
    learners = [Learner(narrow("simplecnn", DIGITS, seed), seed) for seed in (0, 7)]
    nn.init.constant_(next(iter(learners[1].network.parameters())), float("nan"))
    with pytest.raises(TrainingError, match="loss of seed 7 is nan after epoch 1"):
        fit_together(learners, images, DIGITS, PLAN, processor=CPU)


def test_it_pays_for_several_seeds_on_small_sets_on_a_gpu():
    gpu = Processor("cuda", "bf16", 1)
    assert pays(1000, 2, gpu)
    assert not pays(1000, 1, gpu)
    assert not pays(together.SMALL_SET + 1, 5, gpu)
    assert not pays(1000, 5, CPU)


@pytest.mark.slow
def test_an_adaptation_whose_seeds_train_together_comes_to_the_same(run_cli, monkeypatch):
    command = (
        "adapt", "--source", "digits", "--target", "digits-0v1", "--schedule", "one-cycle",
        "--source-epochs", 1, "--epochs", 2, "--seeds", 2, "--precision", "fp32", "--json",
        "--protocols", "pfa-fine,pfa-scratch",
    )  # fmt: skip
    alone = json.loads(run_cli(*command, "--tracking-uri", "sqlite:///alone.db")[1])
    monkeypatch.setattr(
        "workbench.adaptation.stacked_training.pays", lambda images, seeds, processor: seeds > 1
    )
    status, out, err = run_cli(*command)
    assert status == 0, err
    assert "pfa-fine · digits-0v1 · seeds 0, 1 together: 2/2" in err
    result = json.loads(out)
    for ours, theirs in zip(result["protocols"], alone["protocols"], strict=True):
        assert ours["accuracies"] == pytest.approx(theirs["accuracies"], abs=0.02)
    runs = [Store(None).run(run_id) for row in result["protocols"] for run_id in row["run_ids"]]
    other = Store("sqlite:///alone.db")
    losses = [other.run(i).train_loss for row in alone["protocols"] for i in row["run_ids"]]
    assert [run.train_loss for run in runs] == pytest.approx(losses, rel=1e-3)
    assert {run.status for run in runs} == {FINISHED}
    assert not list(Path("mlruns/work").glob("*/outcome.json"))
    assert "nothing to train" in run_cli(*command)[2]


DEEP = """
import torch
from torch import nn
from torchvision.ops import StochasticDepth

class Deep(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.one = nn.Conv2d(channels, 8, 3, padding=1)
        self.two = nn.Conv2d(8, 8, 3, padding=1)
        self.depth = StochasticDepth(0.5, "row")
        self.head = nn.Linear(8, classes)

    def forward(self, images):
        stream = torch.relu(self.one(images))
        stream = stream + self.depth(torch.relu(self.two(stream)))
        return self.head(stream.mean(dim=(2, 3)))

def deep(num_classes, in_channels):
    return Deep(num_classes, in_channels)
"""


def test_seeds_that_cannot_be_stacked_are_trained_one_by_one(run_cli, tmp_path, monkeypatch):
    (tmp_path / "own_deep.py").write_text(DEEP)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(
        "workbench.adaptation.stacked_training.pays", lambda images, seeds, processor: seeds > 1
    )
    status, out, err = run_cli(*QUICK, "--seeds", 2, "--model", "own_deep:deep", "--json")
    assert status == 0, err
    assert len(json.loads(out)["protocols"][0]["accuracies"]) == 2
    assert "seeds 0, 1: trained one by one, not together (vmap: called random operation" in err


@pytest.mark.slow
def test_seeds_that_memory_does_not_hold_are_halved(run_cli, monkeypatch):
    def scarce(learners, *rest, **options):
        if len(learners) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return fit_together(learners, *rest, **options)

    monkeypatch.setattr(
        "workbench.adaptation.stacked_training.pays", lambda images, seeds, processor: seeds > 1
    )
    monkeypatch.setattr("workbench.adaptation.stacked_training.fit_together", scarce)
    status, _, err = run_cli(*QUICK, "--seeds", 3)
    assert status == 0, err
    assert "seeds 0, 1, 2: not enough memory to train all together; trying two halves" in err
    assert "seeds 0, 1 together: 1/1" in err
    assert "seed 2: 1/1" in err


@pytest.mark.slow
def test_no_more_seeds_than_memory_bears_are_stacked(run_cli, monkeypatch):
    monkeypatch.setattr(
        "workbench.adaptation.stacked_training.pays", lambda images, seeds, processor: seeds > 1
    )
    monkeypatch.setattr("workbench.adaptation.stacked_training.MOST_AT_ONCE", 2)
    status, _, err = run_cli(*QUICK, "--seeds", 3)
    assert status == 0, err
    assert "seeds 0, 1 together: 1/1" in err
    assert "seed 2: 1/1" in err
