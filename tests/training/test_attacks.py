"""Attacks on trained networks: laws, a closed form, and a slow transcription."""

import numpy as np
import pytest
import torch
from torch import nn

from workbench.data.augmentation import _statistics, normalise
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images, load_images
from workbench.models.networks import build_network
from workbench.models.processor import Processor
from workbench.training.attack_names import attack_metrics, attack_title, check_attack
from workbench.training.attacks import _random_starts, attack_accuracies, fgsm, pgd
from workbench.training.evaluation import evaluate
from workbench.training.loop import fit
from workbench.training.plans import Plan

DIGITS, CPU = SOURCES["digits"], Processor("cpu", "fp32", 1)
PLAN = Plan(2, "one-cycle", 1, 0.05, 64, 5e-4, augment=False)


@pytest.fixture(scope="module")
def digits():
    train, test = (load_images("digits", split, None) for split in ("train", "test"))
    return train, Images(test.pixels[:200], test.labels[:200])


@pytest.fixture(scope="module")
def model(digits):
    made = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Flatten(),
        nn.Linear(288, 10),
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for layer in (made[0], made[4]):
            layer.reset_parameters()
    fit(made, digits[0], DIGITS, PLAN, seed=0, processor=CPU)
    return made.eval()


@pytest.fixture
def batch(digits):
    test = digits[1]
    pixels = torch.from_numpy(test.pixels).float().to(memory_format=torch.channels_last)
    return pixels, torch.from_numpy(test.labels)


def loss(model, pixels, labels):
    with torch.no_grad():
        logits = model((pixels - DIGITS.mean[0] * 16) / (DIGITS.std[0] * 16))
        return nn.functional.cross_entropy(logits, labels).item()


def attacks(model, pixels, labels, size):
    start = _random_starts(4)(pixels)
    return (
        fgsm(model, pixels, labels, DIGITS, size),
        pgd(model, pixels, labels, DIGITS, size, start),
    )


def test_a_change_of_nothing_is_the_clean_accuracy(model, digits, monkeypatch):
    found = attack_accuracies(model, digits[1], DIGITS, CPU, [0])
    clean = evaluate(model, digits[1], DIGITS, CPU)
    assert found == {"fgsm_0": clean.hits / 200, "pgd_0": clean.hits / 200}
    assert clean.hits > 150


@pytest.mark.parametrize("size", [0.25, 1.0, 5.0])
def test_changes_are_within_epsilon_and_valid(model, batch, size):
    pixels, labels = batch
    for changed in attacks(model, pixels, labels, size):
        assert (changed - pixels).abs().max() <= size + 1e-5
        assert changed.min() >= 0
        assert changed.max() <= DIGITS.white
        assert (changed != pixels).float().mean() > 0.4


def test_the_loss_rises_and_pgd_is_stronger(model, batch):
    pixels, labels = batch
    for size in (0.5, 1.0, 2.0):
        one, ten = (loss(model, x, labels) for x in attacks(model, pixels, labels, size))
        assert loss(model, pixels, labels) < one <= ten


def test_a_larger_epsilon_leaves_a_lower_accuracy(model, digits):
    found = attack_accuracies(model, digits[1], DIGITS, CPU, [8, 16, 64])
    for name in ("fgsm", "pgd"):
        shares = [found[f"{name}_{epsilon}"] for epsilon in (8, 16, 64)]
        assert shares == sorted(shares, reverse=True)
        assert shares[2] < shares[0]
    assert found["pgd_64"] <= found["fgsm_64"]


def test_both_reach_the_worst_case_of_a_linear_network(batch):
    """Two classes: the loss rises most where every pixel goes against the sign of w1 - w0."""
    pixels, labels = batch
    pixels, labels = pixels / 2 + 4, labels % 2  # no pixel reaches black or white
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    apart = (linear[1].weight[1] - linear[1].weight[0]).detach().view(1, 1, 8, 8)
    sides = 1 - 2.0 * labels.view(-1, 1, 1, 1)
    wanted = pixels + 1.5 * sides * apart.sign()
    for changed in attacks(linear, pixels, labels, 1.5):
        torch.testing.assert_close(changed, wanted)


def naive_pgd(model, pixels, label, size, start):
    """One image, step by step, with the gradient of the normalised input."""
    low = np.maximum(pixels - size, 0)
    high = np.minimum(pixels + size, DIGITS.white)
    x = np.clip(pixels + size * start, low, high)
    for _ in range(10):
        inputs = torch.from_numpy((x - DIGITS.mean[0] * 16) / (DIGITS.std[0] * 16)).float()
        inputs.requires_grad_()
        (-model(inputs[None]).log_softmax(1)[0, label]).backward()
        x = np.clip(x + size / 4 * np.sign(inputs.grad.numpy()), low, high)
    return x


def test_pgd_is_its_formula(model, batch):
    pixels, labels = (each[:5] for each in batch)
    start = _random_starts(4)(pixels)
    found = pgd(model, pixels, labels, DIGITS, 1.0, start)
    for image in range(5):
        alone = pixels[image].numpy().astype(np.float64), labels[image]
        wanted = naive_pgd(model, *alone, 1.0, start[image].numpy())
        # The sign of a gradient near 0 may differ.
        assert np.isclose(found[image].numpy(), wanted, atol=1e-4).mean() > 0.97


def test_a_result_depends_neither_on_other_epsilons_nor_on_the_batch(model, digits, monkeypatch):
    both = attack_accuracies(model, digits[1], DIGITS, CPU, [4, 16])
    torch.manual_seed(9)
    state = torch.get_rng_state()
    monkeypatch.setattr("workbench.training.attacks._BATCH", 50)
    seen = []
    alone = attack_accuracies(model, digits[1], DIGITS, CPU, [16], on_batch=seen.append)
    assert alone == {name: both[name] for name in alone}
    assert seen == [50, 100, 150, 200]
    assert torch.equal(torch.get_rng_state(), state)


def test_the_weights_stay_as_they_are(digits):
    network = build_network("simplecnn", (1, 8, 8), 10, seed=0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    attack_accuracies(network, digits[1], DIGITS, CPU, [8])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(value.grad is None for value in network.parameters())


def test_normalised_pixels_are_those_of_evaluations(digits):
    from workbench.data.augmentation import normalise_pixels

    pixels = torch.from_numpy(digits[1].pixels)
    assert torch.equal(normalise_pixels(pixels.float(), DIGITS), normalise(pixels, DIGITS))


def test_names_of_metrics():
    metrics = {"pgd_16": 0.1, "fgsm_2": 0.5, "test_hits": 3, "pgd_2": 0.4, "fgsm_02": 1}
    assert list(attack_metrics(metrics)) == ["fgsm_2", "pgd_2", "pgd_16"]
    assert attack_title("pgd_16") == "PGD 16/255"


@pytest.mark.parametrize("text", ["0", "-2", "1.5", "256", "two", "1e2", "²", "04"])
def test_a_wrong_epsilon_is_one_line(text):
    (line,) = check_attack([text])
    assert line.startswith(f"--attack {text}: is not a whole number of 1 to 255")


def test_an_earlier_pass_without_gradients_does_no_harm(model, batch):
    pixels, labels = batch
    _statistics.cache_clear()
    with torch.inference_mode():
        normalise(pixels, DIGITS)
    assert fgsm(model, pixels, labels, DIGITS, 1.0).shape == pixels.shape
