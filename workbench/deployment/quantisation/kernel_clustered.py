"""Stage ``kernel-clustered``: each input channel shares a few 2-D kernels, by KSE (method card).

Idea: the N kernels of a convolution that read one input channel are often similar. A channel whose
kernels are weak, or alike, needs only a few of them. Each of its filters then uses one of these.
Formula: v_c is the indicator of kernel sparsity and entropy (``compression.methods.kse``) within
the layer. The channel's level is g = floor(v_c G), at most G - 1, and it keeps q_c kernels:
0 if g = 0, which removes the channel; all N if g = G - 1; else ceil(N / 2^(G - g - 1 + T)),
the centroids of k-means. G is ``--kernel-granularity``, T ``--kernel-rate``. The centroids, all
other weights, the biases and the norms are then trained with the cross-entropy; the gradient of a
centroid is the sum over its filters. SGD with Nesterov's momentum 0.9 starts at rate 0.01 and falls
to 0 along a cosine, with batches of 32 images and without augmentation. All seeds are fixed.
File: in each layer, q_c for every channel, the kept kernels in float32, and for each filter and
clustered channel an index of ceil(log2 q_c) bits. Removed channels are zeros when it is read back.
Details: the layer that reads the image stays as it is, as in the authors' code; one of its few
channels would always be removed. So do linear layers and 1 x 1 convolutions, whose kernels are
single weights (the authors' code shares those of 1 x 1 convolutions; ``clustered`` shares weights
in a whole layer), depthwise and transposed convolutions, and layers that would not get smaller. If
all channels of a layer are equal, nothing is shared.
Cost: k-means for every shared channel: about 15 ms on one core for 512 kernels and 256 centroids, a
minute for the channels of a full VGG-16. Then ``--kernel-epochs`` epochs in float32 on the CPU,
minutes for a VGG-16.
When it does not help: it saves bytes only. The file is read back as dense float32 weights, zeros
included, and nothing is rebuilt: neither faster nor with less memory. Each layer loses at least
one channel, which costs more in a narrow layer. Networks of 1 x 1 and depthwise convolutions hardly
shrink.

Li et al., "Exploiting Kernel Sparsity and Entropy for Interpretable CNN Compression", CVPR 2019,
section 3. The exponent is that of the authors' code, G = 4 and T = 0 its values for ResNet-56. The
paper may round v_c G up instead, which differs only where v_c G is a whole number. Reported there:
ResNet-50 on ImageNet loses 0.35 points of top-5 accuracy with 2.9 times fewer parameters.
Measured on S2 (docs/deployment.md): 57 % of the bytes of a VGG-16 that PFA-KL compressed, 27 % with
G = 8; ``clustered`` needs 22 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from workbench.compression.groups.rebuild import Convolution
from workbench.compression.measurements.kernel_indicator import channel_indicators
from workbench.deployment.quantisation.kernel_clusters import kernel_counts, share_kernels
from workbench.deployment.quantisation.kernel_tensors import (
    MOST_CHANNELS,
    MOST_KERNELS,
    KernelWeights,
    weight_of,
)
from workbench.deployment.quantisation.packed_weights import (
    coded_layers,
    layers_in_order,
    state_bytes,
    weight_array,
    write_packed,
)
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_training import (
    StagePlan,
    estimate_norms_for_stage,
    fixed_random_numbers,
    sgd,
    train_for_stage,
)
from workbench.deployment.stage_types import StageReport, TrainedNetwork
from workbench.errors import SettingsError
from workbench.models.weight_files import Card

_RATE = 0.01
_WEIGHT = "weight"
_CPU = torch.device("cpu")


def make_kernel_clustered(
    trained: TrainedNetwork, settings: DeploymentSettings, path: Path
) -> StageReport:
    """Share the kernels of a network, train them, and write it as a packed file.

    Args:
        settings: ``kernel_granularity``, ``kernel_rate`` and ``kernel_epochs`` apply.

    Returns:
        Details hold the ``losses`` of the epochs, the file's ``bytes``, the ``float32_bytes`` of
        the state dict, the ``kernels`` of all layers that share some and how many of them are
        ``stored``, the same for each layer in ``layers``, with its ``channels`` that are
        ``removed``, ``shared`` and ``whole``; and in ``left_alone`` the other layers with the
        reason.

    Raises:
        SettingsError: when no layer has kernels that can be shared.
        TrainingError: when the loss is no longer a finite number.
        OSError: when the file cannot be written.
    """
    network = deepcopy(trained.network)
    check_kernels(network, trained.card)
    reasons = left_alone(network, trained.card)
    every = coded_layers(network)
    shared: dict[int, KernelWeights] = {}
    for name, layer in every.items():
        if name not in reasons and id(layer) not in shared:
            tensor = _shared(layer, settings)
            if tensor.bytes < weight_array(layer).nbytes:
                shared[id(layer)] = tensor
            else:
                reasons[name] = "would not get smaller"
    layers = {name: layer for name, layer in every.items() if id(layer) in shared}
    unique = {id(layer): layer for layer in layers.values()}
    losses = _train(network, {key: (unique[key], shared[key]) for key in unique}, trained, settings)
    found = {key: fix_kernels(layer, shared[key]) for key, layer in unique.items()}
    packed = {f"{name}.{_WEIGHT}": found[id(layer)] for name, layer in layers.items()}
    write_packed(path, trained.card, network, packed)
    rows = [_counted(name, found[id(layer)]) for name, layer in layers.items()]
    details: dict[str, Any] = {
        "losses": losses,
        "learning_rate": _RATE,
        "bytes": path.stat().st_size,
        "float32_bytes": state_bytes(network),
        "kernels": sum(row["kernels"] for row in rows),
        "stored": sum(row["stored"] for row in rows),
        "layers": rows,
        "left_alone": [{"name": name, "reason": reason} for name, reason in reasons.items()],
    }
    return StageReport(details=details)


def check_kernels(network: nn.Module, card: Card) -> None:
    """Check that a network has kernels that can be shared, before it is trained.

    Raises:
        SettingsError: when it has none.
    """
    if len(left_alone(network, card)) == len(coded_layers(network)):
        raise SettingsError(
            f"--stages kernel-clustered: {card.model} has no convolution whose kernels can be "
            "shared; use --stages clustered"
        )


def left_alone(network: nn.Module, card: Card) -> dict[str, str]:
    """Why layers with weights share no kernels, by their names."""
    first = layers_in_order(network, card)[:1]
    reasons = {
        name: "reads the image" if name in first else _unsuitable(layer)
        for name, layer in coded_layers(network).items()
    }
    return {name: reason for name, reason in reasons.items() if reason}


def _unsuitable(layer: nn.Module) -> str:
    """Why a layer shares no kernels; "" if it does."""
    if isinstance(layer, nn.Linear):
        return "is a linear layer: its kernels are single weights"
    if not isinstance(layer, Convolution):
        return "is a transposed convolution"
    if layer.weight[0, 0].numel() == 1:
        return "is a 1 x 1 convolution: its kernels are single weights"
    if layer.groups == layer.in_channels > 1:
        return "is a depthwise convolution: no filters share a channel"
    if layer.in_channels > MOST_CHANNELS or layer.out_channels > MOST_KERNELS:
        return f"has more than {MOST_CHANNELS} input channels or {MOST_KERNELS} filters"
    return ""


def _shared(layer: nn.Module, settings: DeploymentSettings) -> KernelWeights:
    assert isinstance(layer, Convolution)
    kernels = layer.out_channels // layer.groups
    counts = kernel_counts(
        channel_indicators(layer, _CPU),
        kernels,
        settings.kernel_granularity,
        settings.kernel_rate,
    )
    return share_kernels(weight_array(layer), layer.groups, counts)


def _train(
    network: nn.Module,
    layers: Mapping[int, tuple[nn.Module, KernelWeights]],
    trained: TrainedNetwork,
    settings: DeploymentSettings,
) -> list[float]:
    """Train a network in place while its layers share kernels; return the mean losses."""
    for layer, tensor in layers.values():
        put_kernels(layer, tensor)
    with fixed_random_numbers():
        plan = StagePlan(
            "kernel-clustered",
            settings.kernel_epochs,
            _RATE,
            sgd(list(network.parameters()), _RATE),
            "use a lower --kernel-rate",
        )
        losses = train_for_stage(network.train(), trained.train, trained.card, plan)
        estimate_norms_for_stage(network, trained.train, trained.card)
    return losses


def put_kernels(layer: nn.Module, tensor: KernelWeights) -> None:
    """Let a convolution compute with shared kernels; its parameter is their codebook."""
    parametrize.register_parametrization(layer, _WEIGHT, SharedKernels(tensor))


def fix_kernels(layer: nn.Module, tensor: KernelWeights) -> KernelWeights:
    """The trained kernels of a layer; it computes with them as its own weights afterwards."""
    codebook = layer.parametrizations[_WEIGHT].original.detach()  # type: ignore[index,union-attr]
    parametrize.remove_parametrizations(layer, _WEIGHT)
    return replace(tensor, codebook=codebook.numpy().copy())


class SharedKernels(nn.Module):
    """The weight of a convolution as a function of its codebook.

    Args:
        tensor: the codebook to start from, and the kernel of each channel and filter.
    """

    rows: Tensor

    def __init__(self, tensor: KernelWeights) -> None:
        super().__init__()
        self.tensor = tensor
        self.register_buffer("rows", torch.from_numpy(tensor.rows()), persistent=False)

    def forward(self, codebook: Tensor) -> Tensor:
        """The layer's weight from a codebook of shape (kernels, d)."""
        # The last row is the kernel of removed channels.
        extended = torch.cat([codebook, codebook.new_zeros(1, codebook.shape[1])])
        kernels = nn.functional.embedding(self.rows, extended)
        return weight_of(kernels, self.tensor.shape, self.tensor.groups)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The codebook to start from."""
        return torch.from_numpy(self.tensor.codebook.copy()).to(weight)


def _counted(name: str, tensor: KernelWeights) -> dict[str, Any]:
    channels, kernels = tensor.indices.shape
    removed, whole = (int(np.sum(tensor.sizes == size)) for size in (0, kernels))
    return {
        "name": name,
        "kernels": channels * kernels,
        "stored": len(tensor.codebook),
        "channels": {"removed": removed, "shared": channels - removed - whole, "whole": whole},
        "bytes": tensor.bytes,
    }
