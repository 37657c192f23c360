"""Compute parameters and FLOPs of a compressed network from its widths alone.

A layer has filters x inputs x kernel weights, and its FLOPs are twice that times the number of
positions where it is applied. The products of queries, keys and values of an attention cost the
same for each of its heads. Removing filters of a group reduces all of them by a known share in
every layer of the group. So the search for a budget can evaluate thousands of networks without
building one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench.compression.costs.costs import Costs, attention_flops, count_costs
from workbench.compression.groups.rebuild import Convolution, channels_of, is_depthwise, rebuild
from workbench.compression.groups.structure import Structure

Sizes = Callable[[Mapping[str, int]], Costs]


@dataclass(frozen=True)
class _Layer:
    """One layer of the full network.

    Attributes:
        filters, inputs: widths; ``inputs`` is None for norms and depthwise convolutions, whose
            inputs are their filters.
        kernel: weights per filter and input, or per filter if ``inputs`` is None.
        each: further parameters per filter.
        places: positions of the output; 0 for norms, whose FLOPs are not counted.
        each_flops: further FLOPs per filter.
    """

    filters: int
    inputs: int | None
    kernel: float
    each: int
    places: int
    each_flops: int = 0

    def cost(self, filters: int, inputs: int | None) -> tuple[int, int]:
        """Parameters and FLOPs at other widths."""
        weights = round(self.kernel * filters * (1 if inputs is None else inputs))
        flops = 2 * weights * self.places + self.each_flops * filters
        return weights + self.each * filters, flops


def sizes_of(model: nn.Module, structure: Structure, shape: tuple[int, int, int]) -> Sizes:
    """Make a function from widths by filter group to costs; unnamed groups keep all filters.

    Args:
        model: the full network.
        structure: its filter groups.
        shape: channels, height, width of an image.
    """
    if not all(_is_even(cut.pairs[:, 0], g.filters) for g in structure.groups for cut in g.cuts):
        return lambda widths: _by_building(model, structure, shape, widths)
    full = count_costs(model, shape)
    touched = {cut.layer for group in structure.groups for cut in group.cuts}
    places = places_of(model, shape)
    layers = {
        name: _layer(module, places.get(name, 0))
        for name, module in model.named_modules()
        if name in touched and hasattr(module, "weight")
    }
    layers |= {
        name: _parameter(value, dims[name])
        for dims in [{c.layer: c.dim for group in structure.groups for c in group.cuts}]
        for name, value in model.named_parameters()
        if name in touched
    }
    products = attention_flops(model, shape)
    layers |= {name: _heads(model, name, products[name]) for name in touched & products.keys()}
    fixed = [(layer, layer.cost(layer.filters, layer.inputs)) for layer in layers.values()]
    parameters = full.parameters - sum(cost[0] for _, cost in fixed)
    flops = full.flops - sum(cost[1] for _, cost in fixed)

    def costs(widths: Mapping[str, int]) -> Costs:
        filters = {name: layer.filters for name, layer in layers.items()}
        inputs = {name: layer.inputs for name, layer in layers.items()}
        for group in structure.groups:
            gone = group.filters - widths.get(group.name, group.filters)
            for cut in group.cuts:
                if cut.layer not in layers:
                    continue
                less = gone * len(cut.pairs) // group.filters
                before = inputs[cut.layer]
                if cut.side == "filters":
                    filters[cut.layer] -= less
                elif before is not None:
                    inputs[cut.layer] = before - less
        each = [layers[name].cost(filters[name], inputs[name]) for name in layers]
        return Costs(parameters + sum(p for p, _ in each), flops + sum(f for _, f in each))

    return costs


def _is_even(filters: NDArray[np.int64], count: int) -> bool:
    """Whether all filters of a group have the same number of indices."""
    return len(set(np.bincount(filters, minlength=count))) == 1


def _by_building(
    model: nn.Module, structure: Structure, shape: tuple[int, int, int], widths: Mapping[str, int]
) -> Costs:
    kept = {g.name: g.first(widths.get(g.name, g.filters)) for g in structure.groups}
    return count_costs(rebuild(model, kept, structure), shape)


def _layer(module: Any, places: int) -> _Layer:
    weight: Tensor = module.weight
    parameters = sum(p.numel() for p in module.parameters() if p.requires_grad)
    if isinstance(module, (nn.Linear, *Convolution)) and not is_depthwise(module):
        filters = weight.shape[0]
        inputs = module.in_features if isinstance(module, nn.Linear) else module.in_channels
        kernel = weight.numel() / (filters * inputs)
        return _Layer(filters, inputs, kernel, int(module.bias is not None), places)
    if isinstance(module, Convolution):
        filters = weight.shape[0]
        kernel = weight.numel() / filters
        return _Layer(filters, None, kernel, int(module.bias is not None), places)
    width = channels_of(module)
    return _Layer(width, None, 0.0, parameters // width, 0)


def _parameter(values: Tensor, dim: int) -> _Layer:
    """A parameter that belongs to no layer, such as positional embeddings."""
    each = values.numel() // values.shape[dim] if values.requires_grad else 0
    return _Layer(values.shape[dim], None, 0.0, each, 0)


def _heads(model: nn.Module, name: str, flops: int) -> _Layer:
    """The heads of an attention, whose layers are counted by themselves."""
    heads = int(model.get_submodule(name).num_heads)  # type: ignore[arg-type]
    return _Layer(heads, None, 0.0, 0, 0, flops // heads)


def places_of(model: nn.Module, shape: tuple[int, int, int]) -> dict[str, int]:
    """By layer, the number of positions of an image (or tokens) at which it is applied."""
    found: dict[str, int] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, *Convolution)):

            def seen(m: Any, _i: object, out: Tensor, name: str = name) -> None:
                found[name] = out.numel() // m.weight.shape[0]

            hooks.append(module.register_forward_hook(seen))
    try:
        count_costs(model, shape)
    finally:
        for hook in hooks:
            hook.remove()
    return found
