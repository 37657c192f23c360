"""Mixed bits: sensitivities as measured one by one, the best choice, and a file within budget."""

import copy
import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from workbench.compression.narrow_networks import build_narrow
from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.decoding import Form
from workbench.data.image_batches import spread, subset
from workbench.data.known_sets import Images, load_images
from workbench.data.streamed_images import Stream
from workbench.deployment.quantisation import mixed_bits
from workbench.deployment.quantisation.mixed_bits import (
    BITS,
    grid_weights,
    make_mixed,
    measure_sensitivities,
)
from workbench.deployment.quantisation.packed_weights import (
    coded_layers,
    load_packed,
    read_packed,
    state_bytes,
    weight_array,
)
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_types import TrainedNetwork
from workbench.errors import NetworkError, SettingsError
from workbench.models.weight_files import Card

DIGITS = SOURCES["digits"]
WIDTHS = (20, 20, 20, 30, 30, 30, 30, 30)
CARD = Card.of("simplecnn", DIGITS, ("3", "8"), WIDTHS)


def evenly(images, count):
    return subset(images, spread(len(images), count))


def digits():
    return load_images("digits", "train", None).of_classes(("3", "8"), "digits")


def simplecnn():
    return build_narrow("simplecnn", (1, 8, 8), 2, WIDTHS, seed=1).eval()


class Residual(nn.Module):
    """A residual network with a depthwise convolution, a layer on tokens, and a single filter."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.tokens = nn.Linear(6, 9)
        self.back = nn.Linear(9, 6)
        self.one = nn.Conv2d(6, 1, 1)
        self.last = nn.Linear(64, 2)

    def forward(self, images):
        seen = self.first(images)
        seen = seen + self.depthwise(seen)
        tokens = seen.flatten(2).transpose(1, 2)
        tokens = tokens + self.back(self.tokens(tokens).relu())
        seen = tokens.transpose(1, 2).reshape(-1, 6, 8, 8)
        return self.last(self.one(seen).flatten(1))


@pytest.fixture
def residual():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Residual().eval()


def weights_of(network):
    return {name: weight_array(layer) for name, layer in coded_layers(network).items()}


def naive_sensitivity(network, name, bits, images):
    """Copy the network, round one layer filter by filter, and compare the logits."""
    rounded = copy.deepcopy(network)
    weight = rounded.get_submodule(name).weight
    with torch.no_grad():
        for row in weight:
            scale = row.abs().max() / (2 ** (bits - 1) - 1)
            if scale > 0:
                row.copy_((row / scale).round() * scale)
        inputs = normalise(torch.from_numpy(images.pixels), DIGITS)
        return float((rounded(inputs) - network(inputs)).square().mean())


def test_sensitivities_are_those_of_rounding_one_layer(residual, monkeypatch):
    monkeypatch.setattr(mixed_bits, "_BATCH", 16)  # several batches, the last one not full
    images = evenly(digits(), 41)
    before = copy.deepcopy(residual.state_dict())
    found = measure_sensitivities(residual, weights_of(residual), images, CARD)
    assert list(found) == ["first", "depthwise", "tokens", "back", "one", "last"]
    for name, row in found.items():
        for bits, value in zip(BITS, row, strict=True):
            wanted = naive_sensitivity(residual, name, bits, images)
            assert value == pytest.approx(wanted, rel=1e-2, abs=1e-12)
        assert row[0] < row[1] < row[2]
    assert all(torch.equal(residual.state_dict()[name], value) for name, value in before.items())


def test_a_layer_on_its_grid_is_not_sensitive(residual):
    with torch.no_grad():
        residual.first.weight.fill_(0.5)
        residual.tokens.weight.zero_()
        grid = grid_weights(weight_array(residual.one), 4).weights()
        residual.one.weight.copy_(torch.from_numpy(grid))
    found = measure_sensitivities(residual, weights_of(residual), digits(), CARD)
    assert found["tokens"] == (0, 0, 0)
    assert found["one"][2] < 1e-10
    assert max(found["first"]) < 1e-10
    assert min(found["last"]) > 1e-8


@pytest.mark.parametrize("size", [0.17, 0.2, 0.23, 1])
def test_the_file_is_within_budget_and_holds_the_rounded_weights(tmp_path, size):
    network, path = simplecnn(), tmp_path / "net.packed"
    settings = DeploymentSettings(mixed_size=size + 0.05, calibration_images=50)
    report = make_mixed(TrainedNetwork(network, CARD, digits()), settings, path)
    details = report.details
    assert details["float32_bytes"] == state_bytes(network)
    assert details["bytes"] == path.stat().st_size <= details["budget"]
    assert details["budget"] == int((size + 0.05) * state_bytes(network))
    json.dumps(dict(details))
    state = read_packed(path)
    for name, value in network.state_dict().items():
        layer = name.removesuffix(".weight")
        if layer in details["bits"]:
            wanted = grid_weights(value.numpy(), details["bits"][layer]).weights()
            assert torch.equal(state[name], torch.from_numpy(wanted))
        else:
            assert torch.equal(state[name], value)
    network.load_state_dict(state)
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(load_packed(path)(images), network(images))
    if size == 1:
        assert set(details["bits"].values()) == {8}


def test_no_other_choice_within_the_budget_has_less_loss(tmp_path, residual):
    trained, path = TrainedNetwork(residual, CARD, digits()), tmp_path / "net.packed"
    weights = weights_of(residual)

    def bytes_of(choice):
        return sum(-(-w.size * bits // 8) for w, bits in zip(weights.values(), choice, strict=True))

    def mixed(size):
        settings = DeploymentSettings(mixed_size=size, calibration_images=40)
        return make_mixed(trained, settings, path).details

    largest = mixed(100)  # the card and the header are larger than these weights
    assert set(largest["bits"].values()) == {8}
    others = largest["bytes"] - bytes_of([8] * 6)
    for spared in (30, 70, 110, 150):
        details = mixed((largest["bytes"] - spared) / state_bytes(residual))
        losses = details["sensitivities"].values()
        loss_of = {
            choice: sum(row[BITS.index(bits)] for row, bits in zip(losses, choice, strict=True))
            for choice in product(BITS, repeat=6)
            if bytes_of(choice) <= details["budget"] - others
        }
        assert 1 < len(loss_of) < 3**6
        assert details["bytes"] <= details["budget"]
        assert loss_of[tuple(details["bits"].values())] == pytest.approx(min(loss_of.values()))


def test_a_budget_that_is_too_small_gives_the_smallest_possible(tmp_path):
    trained, path = TrainedNetwork(simplecnn(), CARD, digits()), tmp_path / "net.packed"
    with pytest.raises(SettingsError, match=r"--mixed-size 0\.05: .*; use --mixed-size") as caught:
        make_mixed(trained, DeploymentSettings(mixed_size=0.05, calibration_images=2), path)
    assert not path.exists()
    share = float(str(caught.value).split()[-1])
    report = make_mixed(trained, DeploymentSettings(mixed_size=share, calibration_images=2), path)
    assert list(report.details["bits"].values()).count(4) >= 6
    with pytest.raises(SettingsError):
        make_mixed(trained, DeploymentSettings(mixed_size=share - 0.001), path)


def test_a_network_that_cannot_get_smaller_is_told(tmp_path, residual):
    trained = TrainedNetwork(residual, CARD, digits())
    with pytest.raises(SettingsError, match="this network is too small to get smaller"):
        make_mixed(trained, DeploymentSettings(mixed_size=1), tmp_path / "net.packed")


def test_outputs_that_are_not_finite_are_told(residual):
    with torch.no_grad():
        residual.last.bias.fill_(float("inf"))
    with pytest.raises(NetworkError, match="not finite"):
        measure_sensitivities(residual, weights_of(residual), digits(), CARD)


@pytest.mark.parametrize(("count", "wanted"), [(2, [0, 9]), (4, [0, 3, 6, 9]), (50, range(10))])
def test_images_for_calibration_are_evenly_spaced(count, wanted):
    pixels = np.arange(10, dtype=np.uint8)[:, None, None, None]
    chosen = evenly(Images(pixels, np.arange(10)), count)
    assert chosen.labels.tolist() == list(wanted)
    assert chosen.pixels.reshape(-1).tolist() == list(wanted)
    files = tuple(Path(f"{number}.png") for number in range(10))
    stream = Stream(files, np.arange(10), Form(1, 8, 255), "", workers=0)
    chosen = evenly(stream, count)
    assert chosen.labels.tolist() == list(wanted)
    assert chosen.files == tuple(files[number] for number in wanted)


def test_streamed_images_give_the_same_sensitivities(tmp_path, residual):
    images = evenly(digits(), 6)
    card = Card(**{**CARD.__dict__, "white": 255})
    pixels = images.pixels * np.uint8(15)
    for number, image in enumerate(pixels):
        Image.fromarray(image[0]).save(tmp_path / f"{number}.png")
    files = tuple(sorted(tmp_path.glob("*.png")))
    stream = Stream(files, images.labels, Form(1, 8, 255), "", workers=0)
    weights = weights_of(residual)
    found = measure_sensitivities(residual, weights, stream, card)
    wanted = measure_sensitivities(residual, weights, Images(pixels, images.labels), card)
    for name, row in found.items():
        assert row == pytest.approx(wanted[name])
