"""Masks that remove the smallest weights of all layers together, with ``torch.nn.utils.prune``.

A masked layer has the parameter ``weight_orig`` and the buffer ``weight_mask``, and computes with
their product; so the network can be trained with the mask by any loop. The masked weights are those
of all convolutions and linear layers; biases and norms stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from workbench.deployment.quantisation.packed_weights import coded_layers

_WEIGHT, _MASK = "weight", "weight_mask"  # torch names the mask


def removed_count(weights: int, sparsity: float) -> int:
    """Number of weights to remove."""
    return round(sparsity * weights)


def remove_smallest(network: nn.Module, sparsity: float) -> None:
    """Mask the weights with the smallest magnitudes, in place.

    Weights that are masked already stay masked, unless ``sparsity`` is lower than before.

    Args:
        sparsity: masked share of all weights, in [0, 1). Exactly ``removed_count`` weights are
            masked; of equal ones, torch's order decides.
    """
    fix_masks(network)  # masked weights are zeros now, and zeros are the smallest
    network.to(memory_format=torch.contiguous_format)  # torch.nn.utils.prune needs it
    layers = {id(layer): layer for layer in coded_layers(network).values()}.values()
    count = removed_count(sum(_weights(layer) for layer in layers), sparsity)
    if count:
        prune.global_unstructured(
            [(layer, _WEIGHT) for layer in layers],
            pruning_method=prune.L1Unstructured,
            amount=count,
        )


def masks_of(network: nn.Module) -> dict[str, Tensor]:
    """The masks of all masked layers, 1 for a weight that is kept, by the layers' names."""
    return {
        name: layer.get_buffer(_MASK).clone()
        for name, layer in network.named_modules()
        if _is_masked(layer)
    }


def put_masks(network: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Mask the weights of a network, in place; no weight changes.

    Args:
        masks: from ``masks_of`` of a network with the same layers.
    """
    for name, mask in masks.items():
        layer = network.get_submodule(name)
        prune.custom_from_mask(layer, _WEIGHT, mask)  # type: ignore[no-untyped-call]


def fix_masks(network: nn.Module) -> None:
    """Set the masked weights to 0 and remove the masks, in place."""
    for layer in list(network.modules()):
        if _is_masked(layer):
            prune.remove(layer, _WEIGHT)  # type: ignore[no-untyped-call]


def _is_masked(layer: nn.Module) -> bool:
    return _MASK in layer._buffers


def _weights(layer: nn.Module) -> int:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.numel()
