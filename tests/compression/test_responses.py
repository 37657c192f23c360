"""Responses against a slow, direct computation."""

import numpy as np
import pytest
import torch
from torch import nn

from workbench.compression.evidence.responses import measure_responses
from workbench.compression.groups.structure import FilterGroup, ResponsePoint
from workbench.compression.groups.tracing import find_structure
from workbench.compression.narrow_networks import build_narrow
from workbench.data.augmentation import normalise
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images
from workbench.errors import NetworkError

CPU, CIFAR = torch.device("cpu"), SOURCES["cifar10"]


def groups_of(model):
    return find_structure(model, CIFAR.shape).groups


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (300, 3, 32, 32), dtype=np.uint8)
    return Images(pixels, np.zeros(300, dtype=np.int64))


@pytest.fixture
def model():
    widths = (8, 8, 8, 8, 8, 8, 8, 12, 12, 12, 12, 12, 12, 16)
    return build_narrow("vgg16", CIFAR.shape, 10, widths, seed=1).eval()


def test_responses_are_the_layers_own_outputs_pooled_by_their_maximum(model, images):
    groups = groups_of(model)
    moments = measure_responses(model, groups, images, CIFAR, CPU)
    outputs = {}
    for name in (group.name for group in groups):
        layer = model.get_submodule(name)
        layer.register_forward_hook(lambda m, i, out, name=name: outputs.update({name: out}))
    with torch.no_grad():
        model(normalise(torch.from_numpy(images.pixels), CIFAR))
    for name, output in outputs.items():
        pooled = output.flatten(2).max(dim=2).values if output.ndim == 4 else output
        expected = np.cov(pooled.double().numpy(), rowvar=False)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(moments[name].covariance, expected, atol=1e-5 * scale)
        assert moments[name].count == 300


def test_every_image_is_seen_whatever_the_batches(model, images, monkeypatch):
    whole = measure_responses(model, groups_of(model), images, CIFAR, CPU)
    monkeypatch.setattr("workbench.compression.evidence.responses.BATCH_SIZE", 7)
    parts = measure_responses(model, groups_of(model), images, CIFAR, CPU)
    for name, moments in whole.items():
        a, b = moments.covariance, parts[name].covariance
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(a).max())


def test_hooks_are_gone_afterwards(model, images):
    measure_responses(model, groups_of(model), images, CIFAR, CPU)
    assert not any(layer._forward_hooks for layer in model.modules())


def test_weights_that_are_not_numbers_are_told_with_their_layer(model, images):
    groups = groups_of(model)
    name = groups[2].name
    model.get_submodule(name).weight.data[0] = float("nan")
    with pytest.raises(NetworkError, match=f"layer '{name}'.*NaN"):
        measure_responses(model, groups, images, CIFAR, CPU)


def test_a_layer_that_never_runs_is_told(images):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3))
    model.add_module("spare", nn.Identity())
    model.forward = lambda images: model[1](model[0](images))
    group = FilterGroup("spare", 4, ("spare",), ResponsePoint("spare"))
    with pytest.raises(NetworkError, match="'spare' does not run"):
        measure_responses(model, [group], images, CIFAR, CPU)


class Residual(nn.Module):
    """A stem, two blocks on its stream, a depthwise pair, a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.one = nn.Conv2d(6, 6, 3, padding=1)
        self.two = nn.Conv2d(6, 6, 3, padding=1)
        self.wide = nn.Conv2d(6, 9, 1)
        self.deep = nn.Conv2d(9, 9, 3, padding=1, groups=9)
        self.head = nn.Linear(9, 2)

    def forward(self, images):
        stream = self.stem(images)
        stream = torch.relu_(stream + self.one(stream))
        stream = stream + self.two(stream)
        self.last_sum = stream.detach().clone()
        stream = torch.relu_(stream)
        self.deep_output = self.deep(torch.relu(self.wide(stream)))
        return self.head(torch.relu(self.deep_output).mean(dim=(2, 3)))


def test_coupled_layers_respond_after_the_last_addition_before_its_relu(images):
    model = Residual().eval()
    groups = groups_of(model)
    assert [(g.name, g.layers) for g in groups] == [
        ("stem", ("stem", "one", "two")),
        ("wide", ("wide", "deep")),
    ]
    moments = measure_responses(model, groups, images, CIFAR, CPU)
    with torch.no_grad():
        model(normalise(torch.from_numpy(images.pixels), CIFAR))
    for name, output in (("stem", model.last_sum), ("wide", model.deep_output)):
        expected = np.cov(output.amax(dim=(2, 3)).double().numpy(), rowvar=False)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(moments[name].covariance, expected, atol=1e-5 * scale)


class Tokens(nn.Module):
    """An MLP on tokens: the places come before the channels."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out, self.head = nn.Linear(3, 7), nn.Linear(7, 5), nn.Linear(5, 2)

    def forward(self, images):
        tokens = images.flatten(2).transpose(1, 2)
        self.hidden_output = self.hidden(tokens)
        return self.head(self.out(torch.relu(self.hidden_output)).amax(dim=1))


def test_a_linear_layer_on_tokens_is_pooled_over_the_tokens(images):
    model = Tokens().eval()
    moments = measure_responses(model, groups_of(model), images, CIFAR, CPU)
    with torch.no_grad():
        model(normalise(torch.from_numpy(images.pixels), CIFAR))
    expected = np.cov(model.hidden_output.amax(dim=1).double().numpy(), rowvar=False)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(moments["hidden"].covariance, expected, atol=1e-5 * scale)
