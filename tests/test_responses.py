"""Responses against a slow, direct computation."""

import numpy as np
import pytest
import torch
from torch import nn

from workbench.catalog import SOURCES
from workbench.data.augmentation import normalise
from workbench.data.sets import Images
from workbench.errors import NetworkError
from workbench.models.networks import analysed_layers, build_network
from workbench.responses import measure_responses

CPU, CIFAR = torch.device("cpu"), SOURCES["cifar10"]


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (300, 3, 32, 32), dtype=np.uint8)
    return Images(pixels, np.zeros(300, dtype=np.int64))


@pytest.fixture
def model():
    widths = (8, 8, 8, 8, 8, 8, 8, 12, 12, 12, 12, 12, 12, 16)
    return build_network("vgg16", CIFAR.shape, 10, widths, seed=1).eval()


def test_responses_are_the_layers_own_outputs_pooled_by_their_maximum(model, images):
    moments = measure_responses(model, analysed_layers(model), images, CIFAR, CPU)
    outputs = {}
    for name, layer in analysed_layers(model).items():
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
    whole = measure_responses(model, analysed_layers(model), images, CIFAR, CPU)
    monkeypatch.setattr("workbench.responses.BATCH_SIZE", 7)
    parts = measure_responses(model, analysed_layers(model), images, CIFAR, CPU)
    for name, moments in whole.items():
        a, b = moments.covariance, parts[name].covariance
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(a).max())


def test_hooks_are_gone_afterwards(model, images):
    layers = analysed_layers(model)
    measure_responses(model, layers, images, CIFAR, CPU)
    assert not any(layer._forward_hooks for layer in layers.values())


def test_weights_that_are_not_numbers_are_told_with_their_layer(model, images):
    layers = analysed_layers(model)
    name, layer = list(layers.items())[2]
    layer.weight.data[0] = float("nan")
    with pytest.raises(NetworkError, match=f"layer '{name}'.*NaN"):
        measure_responses(model, layers, images, CIFAR, CPU)


def test_a_layer_that_never_runs_is_told(images):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3))
    spare = nn.Conv2d(3, 4, 3)
    with pytest.raises(NetworkError, match="'spare' does not run"):
        measure_responses(model, {"spare": spare}, images, CIFAR, CPU)
