"""Find the layers that can be replaced by two thinner ones, and verify each.

A layer is replaced as a whole module. Code that reads its weights instead of calling it, or that
calls it twice, would break. So the network is run on noise with every such layer replaced by two
whose product is exact, in float64; a layer that changes the outputs stays as it is.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from workbench.compression.factorisation.algebra import TwoLayers
from workbench.compression.factorisation.layers import Layer, bias_of, factorise, weight_of
from workbench.compression.groups.proof import with_random_values
from workbench.compression.groups.rebuild import computes_weights
from workbench.compression.groups.structure import FilterGroup, ResponsePoint, Structure
from workbench.compression.narrow_networks import structure_of
from workbench.models.factors import GROUPED, LOW_RANK, Factor, Kind
from workbench.models.networks import build_network

_TOLERANCE = 1e-9


@lru_cache(maxsize=32)
def known_layers(name: str, shape: tuple[int, int, int], classes: int, kind: Kind) -> Structure:
    """``layer_structure`` of a network by its name; the arguments are those of ``structure_of``."""
    structure = structure_of(name, shape, classes)
    return layer_structure(build_network(name, shape, classes), structure, shape, kind)


def layer_structure(
    model: nn.Module, structure: Structure, shape: tuple[int, int, int], kind: Kind
) -> Structure:
    """The structure with each layer that can be replaced as a group of its own.

    ``uncompressed`` has the other layers and the reason. The groups have no cuts: no filter is
    removed.

    Args:
        model: the network, on the CPU; it is not changed.
        structure: its filter groups.
        shape: channels, height, width of an image.
        kind: how the layers would be replaced.
    """
    reasons = _reasons(model, structure, kind)
    names = [name for name in structure.layers if name not in reasons]
    reasons |= _inexact(model, names, shape)
    groups = tuple(_alone(model, name) for name in names if name not in reasons)
    return replace(structure, groups=groups, uncompressed=reasons)


def _reasons(model: nn.Module, structure: Structure, kind: Kind) -> dict[str, str]:
    """Why layers cannot be replaced, by name, in the order of execution."""
    runs = Counter(structure.path)
    shared = Counter(id(each) for part in model.modules() for each in part._parameters.values())
    found = {}
    for name in structure.layers:
        layer, why = model.get_submodule(name), ""
        if name in structure.classifier.layers:
            why = "it is the classifier"
        elif computes_weights(layer):
            why = "it computes its weights"
        elif type(layer) not in (nn.Conv2d, nn.Linear):
            why = "only plain 2-D convolutions and linear layers are factorised"
        elif getattr(layer, "groups", 1) > 1:
            why = "it is a grouped convolution already"
        elif kind == GROUPED and isinstance(layer, nn.Linear):
            why = "a linear layer has no groups of channels"
        elif runs[name] != 1:
            why = "it does not run exactly once as a module"
        elif shared[id(layer.weight)] > 1:
            why = "it shares its weights with another layer"
        if why:
            found[name] = why
    return found


def _inexact(model: nn.Module, names: list[str], shape: tuple[int, int, int]) -> Mapping[str, str]:
    """The layers whose replacement changes the outputs, with the reason."""
    if not names:
        return {}
    noisy = with_random_values(model)
    image = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = copy.deepcopy(noisy)(image)
    if _problem(noisy, names, image, wanted) is None:
        return {}
    problems = {name: _problem(noisy, [name], image, wanted) for name in names}
    return {name: why for name, why in problems.items() if why is not None}


def _problem(model: nn.Module, names: Iterable[str], image: Tensor, wanted: Tensor) -> str | None:
    """Why replacing these layers is not exact; None if it is."""
    factors = [_exact(name, model.get_submodule(name)) for name in names]
    try:
        with torch.no_grad():
            ours = factorise(model, factors, _product).eval()(image)
    except Exception as error:  # noqa: BLE001 - the network's own code may fail anywhere
        first = (" ".join(str(error).split()) or type(error).__name__)[:160]
        return f"the network does not run with two layers in its place ({first})"
    difference = float((ours - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30))
    if difference <= _TOLERANCE:
        return None
    return f"two layers in its place change the outputs (by {difference:.1e} of the largest)"


def _exact(name: str, layer: nn.Module) -> Factor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    rank = min(len(weight), weight[0].numel())
    return Factor(name, LOW_RANK, rank, layer.bias is not None)


def _product(factor: Factor, layer: Layer) -> TwoLayers:
    """Two layers of full rank: one has the layer's weights, the other puts filters in order again.

    The order is reversed between them, so that two outputs of the same shape are not equal.
    """
    weight, rank = weight_of(layer), factor.size
    reverse = np.eye(rank)[::-1]
    if rank == len(weight):
        return TwoLayers(weight[::-1], reverse, bias_of(layer))
    first = reverse.reshape(rank, *weight.shape[1:])
    return TwoLayers(first, weight.reshape(len(weight), rank)[:, ::-1], bias_of(layer))


def _alone(model: nn.Module, name: str) -> FilterGroup:
    weight = model.get_submodule(name).weight
    assert isinstance(weight, Tensor)
    filters = len(weight)
    point = ResponsePoint(layer=name, channels=tuple(range(filters)))
    return FilterGroup(name, filters, (name,), point)
