"""Replace layers of a network by two thinner ones.

The first layer reads what the layer read, with its kernel, stride, padding and dilation; the second
one is pointwise. So the outputs have the same shape, and the rest of the network does not change.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench.compression.factorisation.algebra import Array, TwoLayers
from workbench.errors import NetworkError
from workbench.models.factors import GROUPED, Factor

Layer = nn.Conv2d | nn.Linear
#: Weights of the two layers of a factor, from the layer that they replace.
MakeWeights = Callable[[Factor, Layer], TwoLayers]


class FactorisedLayer(nn.Sequential):
    """Two layers in place of one, ``first`` and ``second``."""


def factorise(
    model: nn.Module, factors: Sequence[Factor], weights: MakeWeights | None = None
) -> nn.Module:
    """Make a copy of a network in which some layers are replaced.

    Args:
        model: the network; it is not changed.
        factors: the layers to replace.
        weights: makes the weights of the two layers; None leaves them uninitialised.

    Returns:
        The copy, on the same device. Without factors it is a plain copy.

    Raises:
        NetworkError: when a factor does not fit the network; nothing is allocated before.
    """
    for factor in factors:
        _check(model, factor)
    network = copy.deepcopy(model)
    for factor in factors:
        layer = network.get_submodule(factor.layer)
        two = _two_layers(layer, factor)  # type: ignore[arg-type]
        if weights is not None:
            _put(two, weights(factor, layer))  # type: ignore[arg-type]
        two.requires_grad_(layer.weight.requires_grad)  # type: ignore[arg-type]
        network.set_submodule(factor.layer, two.train(layer.training))
    return network


def path_of(network: nn.Module, path: Sequence[str]) -> tuple[str, ...]:
    """The path of a network with replaced layers, from that of the full network.

    Args:
        network: with or without replaced layers.
        path: names of the modules that run, as in ``structure.Structure.path``.
    """
    return tuple(
        part
        for name in path
        for part in (
            (f"{name}.first", f"{name}.second")
            if isinstance(network.get_submodule(name), FactorisedLayer)
            else (name,)
        )
    )


def weight_of(layer: nn.Module) -> Array:
    """A layer's weights in float64, shape (n, c, *kernel)."""
    return _array(layer.weight)  # type: ignore[arg-type]


def bias_of(layer: nn.Module) -> Array | None:
    """A layer's biases in float64, shape (n,); None without them."""
    return None if layer.bias is None else _array(layer.bias)  # type: ignore[arg-type]


def _array(values: Tensor) -> NDArray[np.float64]:
    return values.detach().cpu().double().numpy().copy()


def _check(model: nn.Module, factor: Factor) -> None:
    try:
        layer = model.get_submodule(factor.layer)
    except AttributeError:
        raise NetworkError(f"the network has no layer '{factor.layer}' to factorise") from None
    where, grouped = f"layer '{factor.layer}'", factor.kind == GROUPED
    wanted = (nn.Conv2d,) if grouped else (nn.Conv2d, nn.Linear)
    if type(layer) not in wanted or getattr(layer, "groups", 1) != 1:
        raise NetworkError(f"{where} ({type(layer).__name__}) cannot be factorised ({factor.kind})")
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    filters = layer.weight.shape[0]
    if not grouped and factor.size > filters:
        raise NetworkError(f"{where} has {filters} filters; a rank of {factor.size} is too large")
    if grouped and layer.weight.shape[1] % factor.size:
        raise NetworkError(
            f"{where} has {layer.weight.shape[1]} input channels, which groups of {factor.size} do "
            "not divide"
        )


def _two_layers(layer: Layer, factor: Factor) -> FactorisedLayer:
    """The two layers, uninitialised, with the type and device of the weights that they replace."""
    parts: tuple[nn.Module, nn.Module]
    with torch.device("meta"):  # which allocates and initialises nothing
        if isinstance(layer, nn.Linear):
            parts = (
                nn.Linear(layer.in_features, factor.size, bias=False),
                nn.Linear(factor.size, layer.out_features, bias=factor.bias),
            )
        else:
            channels = layer.in_channels
            middle, groups = (
                (channels, channels // factor.size) if factor.kind == GROUPED else (factor.size, 1)
            )
            first = nn.Conv2d(
                channels,
                middle,
                layer.kernel_size,  # type: ignore[arg-type]
                layer.stride,  # type: ignore[arg-type]
                layer.padding,  # type: ignore[arg-type]
                layer.dilation,  # type: ignore[arg-type]
                groups,
                bias=False,
                padding_mode=layer.padding_mode,
            )
            parts = (first, nn.Conv2d(middle, layer.out_channels, 1, bias=factor.bias))
    two = FactorisedLayer(OrderedDict(zip(("first", "second"), parts, strict=True)))
    return two.to(layer.weight.dtype).to_empty(device=layer.weight.device)


def _put(two: FactorisedLayer, weights: TwoLayers) -> None:
    first, second = two
    values = [(first.weight, weights.first), (second.weight, weights.second)]
    if second.bias is not None:
        assert weights.bias is not None  # the factor says that there is a bias
        values.append((second.bias, weights.bias))
    with torch.no_grad():
        for tensor, array in values:
            assert isinstance(tensor, Tensor)
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)).view(tensor.shape))
