"""Rebuilding: exact where it must be, rejected where it cannot be."""

import numpy as np
import pytest
import torch
from torch import nn

from workbench.compression.groups.rebuild import rebuild as rebuild_as
from workbench.compression.groups.tracing import find_structure
from workbench.compression.narrow_networks import build_narrow, structure_of
from workbench.errors import NetworkError
from workbench.models.networks import build_network

CASES = [("simplecnn", (1, 8, 8)), ("vgg16", (3, 32, 32)), ("vgg16", (3, 64, 64))]


def rebuild(model, kept):
    return rebuild_as(model, kept, find_structure(model, model.image_shape))


def analysed_layers(model):
    groups = find_structure(model, model.image_shape).groups
    return {group.name: model.get_submodule(group.name) for group in groups}


def make(name, shape, classes=5):
    """A network whose batch norms have seen something, in evaluation mode."""
    model = build_network(name, shape, classes, seed=1)
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for values in (module.weight, module.bias, module.running_mean):
                values.data.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    model.image_shape = shape
    return model.eval(), torch.randn(3, *shape, generator=generator)


def half(filters, seed):
    rng = np.random.default_rng(seed)
    return sorted(rng.choice(filters, filters // 2, replace=False).tolist())


def half_of_each(model):
    layers = analysed_layers(model).items()
    return {name: half(len(layer.weight), seed) for seed, (name, layer) in enumerate(layers)}


def followers(model, layer):
    """The batch norm behind a layer and the next layer with filters."""
    modules = [module for module in model.modules() if not list(module.children())]
    place = modules.index(layer)
    norm = modules[place + 1]
    reader = next(m for m in modules[place + 2 :] if isinstance(m, (nn.Conv2d, nn.Linear)))
    return norm, reader


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_nothing_removed_is_bit_identical(name, shape):
    model, images = make(name, shape)
    everything = {key: range(len(m.weight)) for key, m in analysed_layers(model).items()}
    for kept in ({}, everything):
        assert torch.equal(rebuild(model, kept)(images), model(images))


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_filters_that_nobody_listens_to_can_go(name, shape):
    model, images = make(name, shape)
    kept = half_of_each(model)
    for key, layer in analysed_layers(model).items():
        norm, reader = followers(model, layer)
        gone = sorted(set(range(len(layer.weight))) - set(kept[key]))
        pixels = reader.weight.shape[1] // norm.num_features
        columns = [index * pixels + pixel for index in gone for pixel in range(pixels)]
        reader.weight.data[:, columns] = 0
    logits, smaller = model(images), rebuild(model, kept)(images)
    torch.testing.assert_close(smaller, logits, rtol=1e-5, atol=1e-5 * logits.abs().max().item())


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_filters_that_somebody_listens_to_cannot(name, shape):
    model, images = make(name, shape)
    first = next(iter(analysed_layers(model)))
    assert not torch.allclose(rebuild(model, {first: [0, 1]})(images), model(images), rtol=1e-3)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_a_rebuilt_network_has_the_shapes_of_one_built_narrow(name, shape):
    model, _ = make(name, shape)
    kept = half_of_each(model)
    narrow = build_narrow(name, shape, 5, [len(indices) for indices in kept.values()])
    shapes = {key: value.shape for key, value in rebuild(model, kept).state_dict().items()}
    assert shapes == {key: value.shape for key, value in narrow.state_dict().items()}


def test_the_classifier_keeps_the_rows_named_in_their_order():
    model, images = make("vgg16", (3, 32, 32))
    sliced = rebuild(model, {"classifier.6": [4, 1]})
    torch.testing.assert_close(sliced(images), model(images)[:, [4, 1]])


def test_the_original_is_left_as_it_was_and_shares_no_memory():
    model, images = make("simplecnn", (1, 8, 8))
    before = model(images)
    smaller = rebuild(model, {"features.0": [0, 5]})
    for weight in smaller.parameters():
        weight.data.zero_()
    assert torch.equal(model(images), before)


def test_a_rebuilt_network_trains():
    model, images = make("simplecnn", (1, 8, 8))
    smaller = rebuild(model, {"features.0": [0, 5]}).train()
    smaller(images).sum().backward()
    assert all(weight.grad is not None for weight in smaller.parameters())


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"features.99": [0]}, "no layer 'features.99'"),
        ({"features.0": []}, "at least one"),
        ({"features.0": [1, 1]}, "each only once"),
        ({"features.0": [96]}, r"within 0..95"),
        ({"features.0": [-1]}, r"within 0..95"),
    ],
)
def test_a_recipe_that_does_not_fit_is_rejected(kept, message):
    model, _ = make("simplecnn", (1, 8, 8))
    with pytest.raises(NetworkError, match=message):
        rebuild(model, kept)


def test_a_structure_of_another_network_is_rejected():
    model, _ = make("simplecnn", (1, 8, 8))
    with pytest.raises(NetworkError, match=r"no layer 'classifier\.2'"):
        rebuild_as(model, {"classifier.2": [0]}, structure_of("vgg16", (3, 32, 32), 5))
