"""The moving average of the weights: laws, a slow transcription, and resumed trainings."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from workbench.compression.narrow_networks import build_narrow
from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.image_batches import open_feed
from workbench.data.known_sets import Images
from workbench.models.processor import Processor
from workbench.training.checkpoints import Checkpoint
from workbench.training.loop import fit
from workbench.training.norm_statistics import equal_sizes, estimate_norms
from workbench.training.plans import Plan
from workbench.training.weight_average import WeightAverage, decay_at

DIGITS, CPU = SOURCES["digits"], Processor("cpu", "fp32", 1)
WIDTHS = (4, 4, 4, 6, 6, 6, 6, 6)
PLAN = Plan(3, "one-cycle", 2, 0.1, 16, 1e-4, augment=False, ema=0.9)


@pytest.fixture(scope="module")
def images():
    drawing = np.random.default_rng(0)
    pixels = drawing.integers(0, 17, (65, 1, 8, 8), dtype=np.uint8)
    return Images(pixels, np.arange(65) % 2)


def network():
    return build_narrow("simplecnn", (1, 8, 8), 2, WIDTHS, seed=1)


def train(images, plan=PLAN, **options):
    model = network()
    progress = fit(model, images, DIGITS, plan, seed=3, processor=CPU, **options)
    return model, progress


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.99])
def test_the_average_equals_the_formula_in_plain_numbers(decay):
    drawing = np.random.default_rng(2)
    layer = nn.Linear(3, 1)
    average = WeightAverage(layer, decay)
    wanted = [float(value) for value in layer.weight[0].tolist()]
    for step in range(30):
        new = drawing.normal(size=3)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(new)[None])
        average.update(step)
        kept = min(decay, (1 + step) / (10 + step))
        wanted = [kept * old + (1 - kept) * float(value) for old, value in zip(wanted, new)]  # noqa: B905
    average.hand_over()
    assert layer.weight[0].tolist() == pytest.approx(wanted, rel=1e-5)


def test_decay_0_keeps_the_last_weights_exactly():
    layer = nn.Linear(3, 2)
    average = WeightAverage(layer, 0.0)
    nn.init.normal_(layer.weight)
    average.update(0)
    last = layer.weight.detach().clone()
    average.hand_over()
    assert torch.equal(layer.weight, last)


def test_constant_weights_are_their_own_average():
    layer = nn.Linear(3, 2)
    average = WeightAverage(layer, 0.99)
    for step in range(20):
        average.update(step)
    torch.testing.assert_close(average.tensors["weight"], layer.weight.detach())


def test_the_decay_rises_to_its_value():
    decays = [decay_at(0.99, step) for step in range(2000)]
    assert decays[0] == 0.1
    assert decays == sorted(decays)
    assert decays[-1] == 0.99


def test_the_average_does_not_change_the_training(images):
    (averaged, with_it), (plain, without) = train(images), train(images, replace(PLAN, ema=0.0))
    assert with_it.epochs == without.epochs
    assert not same(averaged, plain)


def test_a_training_averages_the_weights_of_all_its_steps(images):
    model = network()
    wanted, steps = model.features[0].weight.detach().double(), []

    def on_step(*_):
        nonlocal wanted
        kept = min(0.9, (1 + len(steps)) / (10 + len(steps)))
        wanted = kept * wanted + (1 - kept) * model.features[0].weight.detach().double()
        steps.append(kept)

    fit(model, images, DIGITS, PLAN, seed=3, processor=CPU, on_step=on_step)
    assert len(steps) == 3 * 4
    torch.testing.assert_close(model.features[0].weight.detach(), wanted.float())


def test_nearly_no_decay_ends_with_the_trained_weights(images):
    averaged, plain = (train(images, replace(PLAN, ema=ema))[0] for ema in (1e-12, 0.0))
    for name, value in averaged.named_parameters():
        torch.testing.assert_close(value, plain.get_parameter(name), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("stop_after", [1, 2])
def test_a_training_that_was_cut_off_ends_with_the_same_weights(images, tmp_path, stop_after):
    class CutError(Exception):
        pass

    def cut(epoch):
        if epoch.number == stop_after:
            raise CutError

    plan = replace(PLAN, mixup=0.4, cutmix=1.0)
    whole, progress = train(images, plan)
    checkpoint = Checkpoint(tmp_path / "state.safetensors", "key")
    with pytest.raises(CutError):
        train(images, plan, checkpoint=checkpoint, on_epoch=cut)
    numbers = []
    resumed, told = train(
        images, plan, checkpoint=checkpoint, on_epoch=lambda epoch: numbers.append(epoch.number)
    )
    assert numbers == list(range(stop_after + 1, 4))
    assert same(whole, resumed)
    assert told.epochs == progress.epochs


def test_norms_are_those_of_all_images_in_one_batch(images):
    """One batch of all images: the statistics are those of each layer's inputs, without dropout."""
    model = network()
    weights = [value.clone() for value in model.parameters()]
    feed = open_feed(images, DIGITS, torch.device("cpu"))
    estimate_norms(model, feed, len(images), DIGITS, batch_size=65, seed=0)
    stream = normalise(torch.from_numpy(images.pixels), DIGITS)
    for layer in model.features:
        if isinstance(layer, nn.BatchNorm2d):
            channels = stream.transpose(0, 1).flatten(1).double()
            mean, variance = channels.mean(1).float(), channels.var(1).float()
            torch.testing.assert_close(layer.running_mean, mean, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(layer.running_var, variance, rtol=1e-4, atol=1e-4)
            assert layer.momentum == 0.1
            stream = (stream - mean[:, None, None]) / (channels.var(1, correction=0) + 1e-5).sqrt()[
                :, None, None
            ].float()  # scales are 1 and shifts 0
        else:
            stream = layer.eval()(stream).detach()
    assert all(torch.equal(*pair) for pair in zip(weights, model.parameters(), strict=True))
    assert not any(part.training for part in model.modules())


@pytest.mark.parametrize("order", ["as they are", "class by class"])
def test_an_order_by_class_does_not_matter(images, order):
    """Batches are drawn from all images: their variances include that between the classes."""
    places = np.arange(65) if order == "as they are" else np.argsort(images.labels, kind="stable")
    pixels = images.pixels + 40 * images.labels[:, None, None, None].astype(np.uint8)
    model = network()
    feed = open_feed(Images(pixels[places], images.labels[places]), DIGITS, torch.device("cpu"))
    estimate_norms(model, feed, 65, DIGITS, batch_size=16, seed=0)
    first = model.features[0](normalise(torch.from_numpy(pixels), DIGITS))
    torch.testing.assert_close(
        model.features[1].running_var, first.var((0, 2, 3)).detach(), rtol=0.1, atol=0.1
    )


@pytest.mark.parametrize(
    ("count", "most", "sizes"),
    [(65, 64, [33, 32]), (64, 64, [64]), (10, 4, [4, 3, 3]), (2, 64, [2])],
)
def test_batches_for_norms_have_equal_sizes(count, most, sizes):
    assert equal_sizes(count, most) == sizes
