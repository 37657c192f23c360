"""Make the smaller network: real, narrower layers; nothing is masked.

Removing filter i of a layer removes its weights and bias, its entries in the batch norms that
follow, and the matching input channels of the layer that reads it (after a flatten: height x
width inputs a filter). Source paper, section 3.4.

The networks are chains: nested ``nn.Sequential`` of the layers listed in ``_PASSIVE`` and
convolutions, linear layers and batch norms. Anything else is refused by name.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from workbench.errors import NetworkError

#: Layers that hand every channel on by itself.
_PASSIVE = (
    nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Flatten, nn.Identity,
)  # fmt: skip


def rebuild(model: nn.Module, kept: Mapping[str, Sequence[int]]) -> nn.Module:
    """A narrower copy of a network with the kept filters' weights.

    Args:
        model: a chain of layers; left as it is.
        kept: by layer name, the indices of the filters that are *kept*, in the order in which
            the new layer has them. Layers that are not named keep all. The classifier may be
            named too: its filters are the classes.

    Returns:
        A new network of the same structure. With every filter kept its outputs are
        bit-identical.

    Raises:
        NetworkError: when the network is no chain, a layer is unknown, or an index is out of
            range or stands twice.
    """
    smaller = copy.deepcopy(model)
    leaves = _chain(smaller, "")
    unknown = sorted(set(kept) - {name for name, _ in leaves})
    if unknown:
        raise NetworkError(f"the network has no layer '{unknown[0]}' that the recipe names")
    inputs: Tensor | None = None  # the kept channels of the layer before, None for all
    before = 0  # how many channels the layer before had
    for name, layer in leaves:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            filters = layer.weight.shape[0]
            outputs = _indices(name, kept[name], filters) if name in kept else None
            _cut_inputs(layer, inputs, before)
            _cut_outputs(layer, outputs)
            inputs, before = outputs, filters
        elif isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            _cut_batch_norm(layer, inputs)
    return smaller


def _chain(module: nn.Module, name: str) -> list[tuple[str, nn.Module]]:
    """The leaves of nested Sequentials in the order in which they run."""
    if isinstance(module, nn.Sequential):
        return [
            leaf
            for child, part in module.named_children()
            for leaf in _chain(part, f"{name}.{child}" if name else child)
        ]
    plain = isinstance(module, (nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, *_PASSIVE))
    if plain or (isinstance(module, nn.Conv2d) and module.groups == 1):
        return [(name, module)]
    raise NetworkError(
        f"layer '{name or type(module).__name__}' ({type(module).__name__}) cannot be rebuilt; "
        "a network must be nn.Sequential of plain convolutions, linear layers, batch norms, "
        "poolings, ReLU, dropout and flatten"
    )


def _indices(name: str, kept: Sequence[int], filters: int) -> Tensor:
    if not kept or len(set(kept)) < len(kept):
        raise NetworkError(f"layer '{name}': kept filters must be different and at least one")
    if min(kept) < 0 or max(kept) >= filters:
        raise NetworkError(f"layer '{name}': kept filters must lie within 0..{filters - 1}")
    return torch.as_tensor(kept, dtype=torch.int64)


def _cut_inputs(layer: nn.Conv2d | nn.Linear, inputs: Tensor | None, before: int) -> None:
    if inputs is None:
        return
    # After a flatten each channel stands for height x width neighbouring inputs.
    pixels = layer.weight.shape[1] // before
    columns = (inputs[:, None] * pixels + torch.arange(pixels)).flatten()
    layer.weight = _take(layer.weight, columns, dim=1)
    if isinstance(layer, nn.Conv2d):
        layer.in_channels = len(columns)
    else:
        layer.in_features = len(columns)


def _cut_outputs(layer: nn.Conv2d | nn.Linear, outputs: Tensor | None) -> None:
    if outputs is None:
        return
    layer.weight = _take(layer.weight, outputs)
    if layer.bias is not None:
        layer.bias = _take(layer.bias, outputs)
    if isinstance(layer, nn.Conv2d):
        layer.out_channels = len(outputs)
    else:
        layer.out_features = len(outputs)


def _cut_batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d, inputs: Tensor | None) -> None:
    if inputs is None:
        return
    layer.num_features = len(inputs)
    if layer.affine:
        layer.weight, layer.bias = _take(layer.weight, inputs), _take(layer.bias, inputs)
    if layer.running_mean is not None and layer.running_var is not None:
        index = inputs.to(layer.running_mean.device)
        layer.running_mean = layer.running_mean[index].clone()
        layer.running_var = layer.running_var[index].clone()


def _take(weights: Tensor, indices: Tensor, dim: int = 0) -> nn.Parameter:
    chosen = weights.detach().index_select(dim, indices.to(weights.device))
    return nn.Parameter(chosen, requires_grad=weights.requires_grad)
