"""Build the smaller network with narrower layers; filters are removed, not masked.

Removing filter i of a group removes its weights and biases in every layer of the group, its
entries in the norms that follow, and the matching input channels of every layer that reads it
(after a flatten: height x width inputs per filter). Source paper, section 3.4. ``tracing`` finds
what must be removed together; this module only removes it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench.compression.groups.attention_heads import is_attention, set_heads
from workbench.compression.groups.structure import SIDES, Side, Structure
from workbench.errors import NetworkError
from workbench.models.channel_scatter import Scatter
from workbench.models.kept_norms import can_keep, is_response_norm, kept_norm

Indices = NDArray[np.int64]
Convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
#: Norms that normalise every channel separately.
ChannelNorm = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


def rebuild(model: nn.Module, kept: Mapping[str, Sequence[int]], structure: Structure) -> nn.Module:
    """Make a narrower copy of a network with the kept filters' weights.

    Args:
        model: the network; it is not changed.
        kept: the *kept* filters by the name of a filter group, in any order. Groups that are not
            named keep all filters. The classifier may be named too: its filters are the classes,
            and the new classes are in the order of its list.
        structure: the structure of this network, from ``tracing.find_structure``.

    Returns:
        A new network of the same structure. If every filter is kept, its outputs are
        bit-identical.

    Raises:
        NetworkError: when the structure belongs to another network, a group is unknown, or an
            index is out of range or repeated.
    """
    smaller = share(model)
    removed: dict[tuple[str, Side], list[Indices]] = {}
    bare: dict[str, tuple[int, Indices]] = {}
    rows: dict[str, Indices] = {}  # of the classifier, in the requested order of classes
    for name, indices in kept.items():
        group = structure.group(name)
        chosen = _indices(name, indices, group.filters)
        others = np.setdiff1d(np.arange(group.filters), chosen)
        for cut in group.cuts:
            if group is structure.classifier:
                rows[cut.layer] = chosen
            elif is_parameter(smaller, cut.layer):
                bare[cut.layer] = cut.dim, np.setdiff1d(cut.pairs[:, 1], cut.indices(others))
            else:
                removed.setdefault((cut.layer, cut.side), []).append(cut.indices(others))
    for name in sorted({layer for layer, _ in removed} | rows.keys()):
        layer = _layer(smaller, name)
        if can_keep(layer) and len(np.concatenate(removed[name, "filters"])):
            layer = kept_norm(layer)
            smaller.set_submodule(name, layer)
        # After a concatenation, one layer reads several groups; it is cut once for all of them.
        filters, inputs = (
            np.setdiff1d(np.arange(size), np.concatenate(removed[name, side]))
            if (name, side) in removed
            else None
            for side, size in zip(SIDES, _sizes(layer), strict=True)
        )
        _cut(layer, name, rows.get(name, filters), inputs)
    for name, (dim, channels) in bare.items():
        owner, _, own = name.rpartition(".")
        part = smaller.get_submodule(owner)
        setattr(part, own, _parameter(getattr(part, own), channels, dim))
    own_tensors(smaller, model)
    return smaller


def share(model: nn.Module) -> nn.Module:
    """Copy the modules but not their tensors: tensors that are cut need no copy."""
    tensors = (*model.parameters(), *model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def own_tensors(shared: nn.Module, model: nn.Module) -> None:
    """Copy the tensors that a network from ``share`` still shares with the model."""
    theirs = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    copies: dict[int, Tensor] = {}  # two layers that share weights still share them afterwards
    for module in shared.modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and id(tensor) in theirs:
                copies.setdefault(id(tensor), copy.deepcopy(tensor))
                setattr(module, name, copies[id(tensor)])


def is_parameter(model: nn.Module, name: str) -> bool:
    """Whether a name is that of a parameter, not of a layer."""
    owner, _, own = name.rpartition(".")
    try:
        return own in model.get_submodule(owner)._parameters
    except AttributeError:
        return False


def _layer(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise NetworkError(f"the network has no layer '{name}'") from None


def _indices(name: str, kept: Sequence[int], filters: int) -> Indices:
    if len(kept) == 0 or len(set(kept)) < len(kept):
        raise NetworkError(f"layer '{name}': keep at least one filter, each only once")
    if min(kept) < 0 or max(kept) >= filters:
        raise NetworkError(f"layer '{name}': kept filters must lie within 0..{filters - 1}")
    return np.asarray(kept, dtype=np.int64)


def _sizes(layer: nn.Module) -> tuple[int, int]:
    """Filters (or channels) and inputs of a layer."""
    if isinstance(layer, nn.Linear):
        return layer.out_features, layer.in_features
    if isinstance(layer, Convolution):
        return layer.out_channels, layer.in_channels
    if isinstance(layer, Scatter):
        return layer.width, len(layer.index)
    if is_attention(layer):
        return int(layer.num_heads), int(layer.num_heads)  # type: ignore[arg-type]
    width = channels_of(layer)
    return width, width


def channels_of(layer: nn.Module) -> int:
    """Number of channels of a norm or a PReLU."""
    if isinstance(layer, nn.LayerNorm):
        return int(layer.normalized_shape[0])
    if isinstance(layer, nn.PReLU):
        return int(layer.num_parameters)
    if is_response_norm(layer):
        return len(layer.weight)  # type: ignore[arg-type]
    return int(layer.num_features)  # type: ignore[arg-type]


def _cut(layer: nn.Module, name: str, filters: Indices | None, inputs: Indices | None) -> None:
    """Cut one layer to the kept filters and inputs; None means all."""
    if isinstance(layer, Scatter):
        assert inputs is not None  # its width is that of the stream and never cut
        layer.index = layer.index[torch.from_numpy(inputs).to(layer.index.device)].clone()
    elif isinstance(layer, nn.Linear):
        _cut_weight(layer, filters, inputs)
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, Convolution):
        _cut_convolution(layer, name, filters, inputs)
    elif isinstance(layer, (*ChannelNorm, nn.PReLU)) or can_keep(layer):
        assert filters is not None  # the inputs of a norm are its filters
        _cut_channels(layer, filters)
    elif is_attention(layer):
        assert filters is not None  # its filters are its heads
        set_heads(layer, len(filters))
    else:
        raise NetworkError(f"layer '{name}' ({type(layer).__name__}) cannot be cut")


def _cut_convolution(
    layer: nn.Conv1d | nn.Conv2d | nn.Conv3d,
    name: str,
    filters: Indices | None,
    inputs: Indices | None,
) -> None:
    if layer.groups == 1:
        _cut_weight(layer, filters, inputs)
    elif is_depthwise(layer):
        _cut_weight(layer, filters, None)
        layer.groups = len(layer.weight)
    else:
        _cut_grouped(layer, name, filters, inputs)
    layer.out_channels = layer.weight.shape[0]
    layer.in_channels = layer.weight.shape[1] * layer.groups


def _cut_grouped(
    layer: nn.Conv1d | nn.Conv2d | nn.Conv3d,
    name: str,
    filters: Indices | None,
    inputs: Indices | None,
) -> None:
    """Cut within each group; all groups keep the same numbers of filters and of inputs."""
    filters = np.arange(layer.out_channels) if filters is None else filters
    inputs = np.arange(layer.in_channels) if inputs is None else inputs
    wide, deep = layer.out_channels // layer.groups, layer.weight.shape[1]
    rows = [filters[filters // wide == group] for group in range(layer.groups)]
    columns = [inputs[inputs // deep == group] % deep for group in range(layer.groups)]
    if len({len(part) for part in rows}) > 1 or len({len(part) for part in columns}) > 1:
        raise NetworkError(
            f"layer '{name}': its {layer.groups} groups must all keep the same number of filters"
        )
    parts = [
        _take(_take(layer.weight, row), column, dim=1)
        for row, column in zip(rows, columns, strict=True)
    ]
    layer.weight = nn.Parameter(torch.cat(parts), layer.weight.requires_grad)
    if layer.bias is not None:
        layer.bias = _parameter(layer.bias, filters)


def is_depthwise(layer: nn.Module) -> bool:
    """Whether every filter of a convolution reads one channel that no other filter reads."""
    return isinstance(layer, Convolution) and 1 < layer.groups == layer.out_channels == (
        layer.in_channels
    )


def is_grouped(layer: nn.Module) -> bool:
    """Whether a convolution has groups of more than one filter or input each."""
    return isinstance(layer, Convolution) and layer.groups > 1 and not is_depthwise(layer)


def computes_weights(layer: nn.Module) -> bool:
    """Whether a layer computes its weight or bias (weight norm) instead of holding it."""
    return any(
        isinstance(getattr(layer, name, None), Tensor) and layer._parameters.get(name) is None
        for name in ("weight", "bias")
    )


def _cut_weight(
    layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d,
    filters: Indices | None,
    inputs: Indices | None,
) -> None:
    if inputs is not None:
        layer.weight = _parameter(layer.weight, inputs, dim=1)
    if filters is not None:
        layer.weight = _parameter(layer.weight, filters)
        if layer.bias is not None:
            layer.bias = _parameter(layer.bias, filters)


def _cut_channels(layer: nn.Module, filters: Indices) -> None:
    """Cut the per-channel values of a norm or a PReLU."""
    if channels_of(layer) == len(filters):
        return
    if isinstance(layer, nn.PReLU):
        if layer.num_parameters > 1:
            layer.weight = _parameter(layer.weight, filters)
            layer.num_parameters = len(filters)
        return
    layer.num_features = len(filters)  # type: ignore[assignment]
    for name in ("weight", "bias"):
        values = getattr(layer, name)
        if values is not None:
            setattr(layer, name, _parameter(values, filters))
    for name in ("running_mean", "running_var"):
        values = getattr(layer, name, None)
        if values is not None:
            setattr(layer, name, _take(values, filters).clone())


def _parameter(values: Tensor, indices: Indices, dim: int = 0) -> nn.Parameter:
    return nn.Parameter(_take(values, indices, dim), requires_grad=values.requires_grad)


def _take(values: Tensor, indices: Indices, dim: int = 0) -> Tensor:
    return values.detach().index_select(dim, torch.from_numpy(indices).to(values.device))
