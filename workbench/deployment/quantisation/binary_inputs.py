"""Layers whose inputs are signs: what a network with binary activations computes from a file."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def signs(values: Tensor) -> Tensor:
    """+1 where a value is at least 0, and -1 elsewhere; torch's sign of 0 is 0."""
    return torch.where(values >= 0, 1.0, -1.0)


def channel_axis(layer: nn.Module) -> int:
    """The axis of a layer's input that its weights run along, counted from the end.

    Convolutions have it before their positions, linear layers last.
    """
    return -1 if isinstance(layer, nn.Linear) else -1 - len(layer.kernel_size)  # type: ignore[arg-type]


def input_channels(layer: nn.Module) -> int:
    """Channels of a layer's input."""
    channels = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    assert isinstance(channels, int)
    return channels


def binarise_inputs(layer: nn.Module, thresholds: Tensor) -> None:
    """Let a layer read signs: +1 where an input is at least its channel's threshold, else -1.

    Zeros of the padding stay 0.

    Args:
        layer: a convolution or a linear layer; changed in place.
        thresholds: float32, shape (input channels,).

    Raises:
        ValueError: when the layer has another number of input channels.
    """
    if thresholds.shape != (input_channels(layer),):
        raise ValueError(f"{input_channels(layer)} channels have {len(thresholds)} thresholds")
    positions = (1,) * (-1 - channel_axis(layer))
    layer.register_buffer("input_thresholds", thresholds.reshape(-1, *positions), persistent=False)
    layer.register_forward_pre_hook(_read_signs)


def _read_signs(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (signs(inputs[0] - layer.input_thresholds), *inputs[1:])
