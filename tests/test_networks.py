"""Networks: their size, names, initialisation and smallest image."""

import math

import pytest
import torch

from workbench.errors import NetworkError
from workbench.models.networks import NETWORKS, analysed_layers, build_network, filter_layers

CIFAR, DIGITS = (3, 32, 32), (1, 8, 8)


def parameters(model):
    return sum(weight.numel() for weight in model.parameters())


def test_vgg16_has_15_million_parameters_and_14_analysed_layers():
    model = build_network("vgg16", CIFAR, 10)
    assert round(parameters(model) / 1e6, 1) == 15.0
    assert len(analysed_layers(model)) == 14


def test_vgg16_names_its_layers_as_published_weights_do():
    names = build_network("vgg16", CIFAR, 100).state_dict()
    assert names["features.0.weight"].shape == (64, 3, 3, 3)
    assert names["features.40.weight"].shape == (512, 512, 3, 3)
    assert names["classifier.2.weight"].shape == (512, 512)
    assert names["classifier.6.weight"].shape == (100, 512)


def test_simplecnn_halves_the_image_twice_and_averages_the_rest():
    model = build_network("simplecnn", CIFAR, 10).eval()
    sizes = []
    for layer in filter_layers(model).values():
        layer.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[1:]))
    assert model(torch.zeros(2, *CIFAR)).shape == (2, 10)
    assert [tuple(size) for size in sizes] == [
        (96, 32, 32), (96, 32, 32), (96, 16, 16), (192, 16, 16), (192, 16, 16), (192, 8, 8),
        (192, 8, 8), (192, 8, 8), (10, 8, 8),
    ]  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_widths_build_a_narrower_network(name):
    network = NETWORKS[name]
    widths = [max(1, width // 7) for width in network.widths]
    model = build_network(name, (3, 32, 32), 3, widths)
    assert [len(layer.weight) for layer in analysed_layers(model).values()] == widths
    assert model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first = build_network("simplecnn", DIGITS, 10, seed=3)
    state = torch.random.get_rng_state()
    second = build_network("simplecnn", DIGITS, 10, seed=3)
    other = build_network("simplecnn", DIGITS, 10, seed=4)
    assert torch.equal(torch.random.get_rng_state(), state)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.features[0].weight, other.features[0].weight)


def test_weights_are_drawn_as_he_et_al_do():
    layer = build_network("vgg16", CIFAR, 10).features[3]
    fan_in = layer.weight[0].numel()
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.02)


def test_an_image_that_collapses_to_nothing_is_refused_with_a_remedy():
    with pytest.raises(NetworkError, match=r"vgg16 needs images of at least 32x32.*simplecnn"):
        build_network("vgg16", DIGITS, 10)
