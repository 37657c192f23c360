"""Stage ``binary``: one bit a weight, trained with straight-through gradients.

Idea: a weight keeps only its sign. Training needs small steps, so it updates real weights, and the
network computes with their signs. ``--binary`` chooses what is binary:

- ``connect``: the weights (BinaryConnect, Courbariaux et al., NeurIPS 2015);
- ``bnn``: the inputs of their layers as well (Hubara et al., NeurIPS 2016);
- ``xnor``: both, with a scale for each filter that follows the weights (XNOR-Net, Rastegari et al.,
  ECCV 2016).

Formula: b = sign(w) with sign(0) = +1; the gradient passes a sign where |x| <= 1. Real weights are
clipped to [-1, 1] after each update. With ``xnor`` a filter is alpha b with alpha = w'b/n, the
mean of |w|, which minimises |w - alpha b|². The gradient of alpha is exact: with the gradient g of
the loss with respect to alpha b, weight i gets b_i (sum_j g_j b_j) / n in addition to alpha g_i,
where the paper has g_i / n. With ``connect`` and ``bnn`` the scale of a layer is the mean of |w|
before the training, and fixed: a batch norm behind the layer cancels it, and without one the
outputs keep their size. The first and the last layer that run stay real, as do biases and norms.

Activations: the order of XNOR-Net's blocks, batch norm -> sign -> convolution -> pooling, is not
forced on a network. Its layers stay as they are, ReLU included. With ``bnn`` and ``xnor`` the
inputs of each binary layer are normalised by channel, without scale and shift, and become their
signs. In the file that is a threshold for each input channel. The scale K of XNOR-Net's inputs is
left out.

The loss is the cross-entropy. Adam starts at rate 1e-3 and falls to 0 along a cosine, with
batches of 32 images and without augmentation. Batch norms are measured anew at the end. All seeds
are fixed.

Cost: ``--binary-epochs`` epochs in float32 on the CPU: minutes for a VGG-16. The papers train for
hundreds of epochs.

When it does not help: it saves bytes only. No runtime here multiplies single bits; the file is read
back as float32 weights, neither faster nor with less memory. Binary activations cost most of the
accuracy in narrow networks and depthwise convolutions, and with few epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from workbench.deployment.quantisation.binary_inputs import channel_axis, input_channels, signs
from workbench.deployment.quantisation.binary_tensors import BinaryWeights
from workbench.deployment.quantisation.packed_weights import (
    coded_layers,
    layers_in_order,
    state_bytes,
    write_packed,
)
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_training import (
    StagePlan,
    estimate_norms_for_stage,
    fixed_random_numbers,
    train_for_stage,
)
from workbench.deployment.stage_types import StageReport, TrainedNetwork
from workbench.errors import SettingsError, counted
from workbench.models.weight_files import Card

_RATE = 1e-3
_CONNECT, _XNOR = "connect", "xnor"
_WEIGHT, _NORM = "weight", "binary_input_norm"


def make_binary(trained: TrainedNetwork, settings: DeploymentSettings, path: Path) -> StageReport:
    """Train a network with binary weights, and write it as a packed file.

    Args:
        settings: ``binary`` and ``binary_epochs`` apply.

    Returns:
        Details hold the ``losses`` of the epochs, the file's ``bytes``, the ``float32_bytes`` of
        the state dict, and the names of the ``binary_layers`` and of the ``real_layers``.

    Raises:
        SettingsError: when no layer lies between the first and the last one.
        TrainingError: when the loss is no longer a finite number.
        OSError: when the file cannot be written.
    """
    network, kind = deepcopy(trained.network), settings.binary
    layers = inner_layers(network, trained.card)
    hooks = put_binary(layers, kind)
    with fixed_random_numbers():
        plan = StagePlan(
            "binary",
            settings.binary_epochs,
            _RATE,
            torch.optim.Adam(network.parameters(), lr=_RATE),
            "use the stage mixed",
        )
        losses = train_for_stage(
            network.train(), trained.train, trained.card, plan,
            after_step=lambda step, steps: _clip(layers),
        )  # fmt: skip
        estimate_norms_for_stage(network, trained.train, trained.card)
    for hook in hooks:
        hook.remove()
    found = {id(layer): fix_binary(layer) for layer in layers.values()}
    every = coded_layers(network)
    packed = {f"{name}.weight": found[id(layer)] for name, layer in every.items()
              if id(layer) in found}  # fmt: skip
    write_packed(path, trained.card, network, packed)
    details: dict[str, Any] = {
        "losses": losses,
        "learning_rate": _RATE,
        "bytes": path.stat().st_size,
        "float32_bytes": state_bytes(network),
        "binary_layers": list(layers),
        "real_layers": [name for name, layer in every.items() if id(layer) not in found],
    }
    return StageReport(details=details)


def inner_layers(network: nn.Module, card: Card) -> dict[str, nn.Module]:
    """The convolutions and linear layers between the first and the last one that run, by name.

    Raises:
        SettingsError: when there are none.
    """
    named, order = coded_layers(network), layers_in_order(network, card)
    inner = order[1:-1]
    if not inner:
        raise SettingsError(
            f"--stages binary: the first and the last layer stay real, and {card.model} has "
            f"{counted(len(order), 'layer')} with weights; use --stages mixed"
        )
    return {name: named[name] for name in inner}


def put_binary(layers: Mapping[str, nn.Module], kind: str) -> list[RemovableHandle]:
    """Let layers compute with binary weights, and with binary inputs unless ``kind`` is connect.

    Returns:
        The hooks that make the inputs binary.
    """
    hooks = []
    for layer in layers.values():
        weight = layer.weight
        assert isinstance(weight, Tensor)
        fixed = None if kind == _XNOR else float(weight.detach().abs().mean())
        parametrize.register_parametrization(layer, _WEIGHT, SignedWeight(fixed))
        if kind != _CONNECT:
            norm = nn.BatchNorm1d(input_channels(layer), affine=False)
            layer.add_module(_NORM, norm)
            hooks.append(layer.register_forward_pre_hook(_normalised_signs))
    return hooks


def fix_binary(layer: nn.Module) -> BinaryWeights:
    """The trained weights of a layer; it computes with them as real weights afterwards."""
    (parametrization,) = layer.parametrizations[_WEIGHT]  # type: ignore[index]
    real = layer.parametrizations[_WEIGHT].original.detach()  # type: ignore[index,union-attr]
    scales = parametrization.scales(real).reshape(-1)
    thresholds = np.zeros(0, dtype=np.float32)
    if hasattr(layer, _NORM):
        thresholds = getattr(layer, _NORM).running_mean.numpy().copy()
        delattr(layer, _NORM)
    parametrize.remove_parametrizations(layer, _WEIGHT)
    flat = (real >= 0).reshape(-1).numpy()
    return BinaryWeights(tuple(real.shape), flat, scales.numpy(), thresholds)


class Sign(torch.autograd.Function):
    """The sign, +1 for 0; its gradient passes unchanged where |x| <= 1, and is 0 elsewhere."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return signs(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        passes: Tensor = values.abs() <= 1
        return gradients[0] * passes


class SignedWeight(nn.Module):
    """A weight of signs times a scale for each filter.

    Args:
        fixed: the scale of all filters; None for the mean magnitude of each filter, alpha.
    """

    def __init__(self, fixed: float | None) -> None:
        super().__init__()
        self.fixed = fixed

    def scales(self, weight: Tensor) -> Tensor:
        """The scales, shape (filters, 1, ...)."""
        if self.fixed is not None:
            return weight.new_full((len(weight), *(1,) * (weight.ndim - 1)), self.fixed)
        return weight.abs().mean(dim=tuple(range(1, weight.ndim)), keepdim=True)

    def forward(self, weight: Tensor) -> Tensor:
        """The layer's weight."""
        sign: Tensor = Sign.apply(weight)
        return self.scales(weight) * sign


def _normalised_signs(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The signs of a layer's inputs after a batch norm by channel."""
    channels = inputs[0].movedim(channel_axis(layer), -1)
    normed = getattr(layer, _NORM)(channels.reshape(-1, channels.shape[-1]))
    signed: Tensor = Sign.apply(normed.reshape(channels.shape))
    return (signed.movedim(-1, channel_axis(layer)), *inputs[1:])


def _clip(layers: Mapping[str, nn.Module]) -> None:
    with torch.no_grad():
        for layer in layers.values():
            layer.parametrizations[_WEIGHT].original.clamp_(-1, 1)  # type: ignore[index,union-attr]
