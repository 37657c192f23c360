"""Networks: their size, names, initialisation and smallest image."""

import math

import pytest
import torch

from workbench.compression.narrow_networks import build_narrow, structure_of
from workbench.errors import NetworkError
from workbench.models.networks import NETWORKS, build_network

CIFAR, DIGITS = (3, 32, 32), (1, 8, 8)


def parameters(model):
    return sum(weight.numel() for weight in model.parameters())


def test_vgg16_has_15_million_parameters_and_14_analysed_layers():
    model = build_network("vgg16", CIFAR, 10)
    assert round(parameters(model) / 1e6, 1) == 15.0
    assert len(structure_of("vgg16", CIFAR, 10).groups) == 14


def test_vgg16_names_its_layers_as_published_weights_do():
    names = build_network("vgg16", CIFAR, 100).state_dict()
    assert names["features.0.weight"].shape == (64, 3, 3, 3)
    assert names["features.40.weight"].shape == (512, 512, 3, 3)
    assert names["classifier.2.weight"].shape == (512, 512)
    assert names["classifier.6.weight"].shape == (100, 512)


def test_simplecnn_halves_the_image_twice_and_averages_the_rest():
    model = build_network("simplecnn", CIFAR, 10).eval()
    sizes = []
    for layer in (part for part in model.modules() if isinstance(part, torch.nn.Conv2d)):
        layer.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[1:]))
    assert model(torch.zeros(2, *CIFAR)).shape == (2, 10)
    assert [tuple(size) for size in sizes] == [
        (96, 32, 32), (96, 32, 32), (96, 16, 16), (192, 16, 16), (192, 16, 16), (192, 8, 8),
        (192, 8, 8), (192, 8, 8), (10, 8, 8),
    ]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "vgg16-convolutional"])
def test_widths_build_a_narrower_network(name):
    groups = structure_of(name, CIFAR, 3).groups
    widths = [max(1, group.filters // 7) for group in groups]
    model = build_narrow(name, CIFAR, 3, widths)
    for group, width in zip(groups, widths, strict=True):
        assert all(len(model.get_submodule(layer).weight) == width for layer in group.layers)
    assert model.eval()(torch.zeros(1, *CIFAR)).shape == (1, 3)


def test_resnet56_is_as_published_and_frees_every_block():
    model = build_network("resnet56", CIFAR, 10)
    assert parameters(model) == 853_018  # He et al. (2016): 0.85 M
    structure = structure_of("resnet56", CIFAR, 10)
    assert len(structure.groups) == 54  # two convolutions in each of 27 blocks
    assert all(len(group.layers) == 1 for group in structure.groups)
    assert list(structure.uncompressed) == ["stem.0"]


def test_resnet34_shares_one_list_a_stage():
    assert round(parameters(build_network("resnet34", (3, 64, 64), 1000)) / 1e6, 1) == 21.8
    structure = structure_of("resnet34", CIFAR, 10)
    shared = {group.name: len(group.layers) for group in structure.groups if len(group.layers) > 1}
    assert sorted(shared.values()) == [4, 4, 5, 7]  # stem + 3, projection + 3, + 4, + 6
    assert all(str(g.response).startswith("addition in stages") for g in structure.groups
               if g.name in shared)  # fmt: skip


def test_resnet34_draws_its_convolutions_as_printed():
    model = build_network("resnet34", CIFAR, 10)
    assert model.stages[3][0].conv1.weight.std().item() == pytest.approx(0.1, rel=0.02)


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


def test_an_image_that_collapses_to_nothing_is_rejected_with_a_remedy():
    with pytest.raises(NetworkError, match=r"vgg16 needs images of at least 32x32.*simplecnn"):
        build_network("vgg16", DIGITS, 10)
