"""The table of networks, and their common size check, initialisation and memory layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeGuard

import torch
from torch import nn

from workbench.errors import NetworkError, did_you_mean
from workbench.models import resnet, simplecnn, vgg16
from workbench.models.external_networks import Builder, find_builder

BatchNorm = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class Schedule:
    """The default training schedule of a network (source paper, appendix C).

    Attributes:
        epochs: length of the training.
        decay_epoch: the epoch after which the learning rate is multiplied by 0.1.
        batch_size: images per step.
        learning_rate: learning rate before the decay.
        weight_decay: L2 penalty; ``weight_decay_of`` holds the sources that differ.
        augment: whether images are cropped and flipped, if the data set allows it.
        sparsity: penalty on the scales of batch norms, used by network slimming (Liu et al. 2017,
            section 4: 1e-4 for VGG, 1e-5 for residual networks).
    """

    epochs: int
    decay_epoch: int
    batch_size: int
    augment: bool
    learning_rate: float = 0.1
    weight_decay: float = 1e-4
    weight_decay_of: Mapping[str, float] = field(default_factory=dict)
    sparsity: float = 1e-4


@dataclass(frozen=True)
class Network:
    """One architecture.

    Attributes:
        build: builds the full network from an image shape and a number of classes.
        smallest_image: least height and width that the network can process, in pixels.
        schedule: the default training.
        convolution_std: standard deviation of the convolutions' initial weights; as in He et al.
            (2015) when None.
    """

    name: str
    build: Builder
    smallest_image: int
    schedule: Schedule
    convolution_std: float | None = None


_CIFAR_SCHEDULE = Schedule(
    epochs=160,
    decay_epoch=90,
    batch_size=256,
    augment=True,
    weight_decay_of={"cifar100": 5e-4},
)
#: For networks of other libraries and users, whose authors trained them on other images.
_ELSEWHERE_SCHEDULE = Schedule(
    epochs=160, decay_epoch=90, batch_size=128, augment=True, learning_rate=0.05, weight_decay=5e-4
)

NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network(
            "simplecnn",
            simplecnn.build,
            simplecnn.SMALLEST_IMAGE,
            Schedule(epochs=50, decay_epoch=30, batch_size=512, augment=False),
        ),
        Network("vgg16", vgg16.build, vgg16.SMALLEST_IMAGE, _CIFAR_SCHEDULE),
        Network(
            "resnet56",
            resnet.build_resnet56,
            resnet.SMALLEST_IMAGE,
            replace(_CIFAR_SCHEDULE, sparsity=1e-5),
        ),
        Network(
            "resnet34",
            resnet.build_resnet34,
            resnet.SMALLEST_IMAGE,
            Schedule(epochs=180, decay_epoch=90, batch_size=64, augment=True, sparsity=1e-5),
            convolution_std=0.1,
        ),
        Network(
            "vgg16-convolutional",
            vgg16.build_convolutional,
            vgg16.SMALLEST_CONVOLUTIONAL_IMAGE,
            Schedule(epochs=90, decay_epoch=60, batch_size=64, augment=True, weight_decay=4e-5),
        ),
    )
}


def find_network(name: str) -> Network:
    """Find the network called ``name`` in the table, in a library or in the user's code.

    Args:
        name: a key of ``NETWORKS``, ``torchvision:NAME``, ``timm:NAME`` or
            ``package.module:function``.

    Raises:
        NetworkError: when there is no network of that name.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    if ":" not in name:
        raise NetworkError(
            f"--model: unknown value '{name}'{did_you_mean(name, list(NETWORKS))}, or write "
            "torchvision:NAME, timm:NAME or package.module:function"
        )
    return Network(name, find_builder(name), 1, _ELSEWHERE_SCHEDULE)


def build_network(
    name: str, shape: tuple[int, int, int], classes: int, *, seed: int = 0
) -> nn.Module:
    """Build and initialise a full network.

    Args:
        name: name of the network, as for ``find_network``.
        shape: channels, height, width of an image.
        classes: number of outputs, at least 1.
        seed: seed of the weights; the same seed gives the same weights.

    Raises:
        NetworkError: when the image is too small for the network, or it cannot be built.
    """
    network = find_network(name)
    check_image_size(name, shape)
    with torch.random.fork_rng(devices=[]):
        # The builder draws the parameters that `initialise` does not set, such as the positional
        # embeddings of a transformer.
        torch.manual_seed(seed)
        model = network.build(shape, classes)
    return initialise(model, name, seed)


def check_model(name: str | None) -> Sequence[str]:
    """Problem lines when there is no network of that name for ``--model``; none for None."""
    if name is None:
        return []
    try:
        find_network(name)
    except NetworkError as error:
        return error.problems
    return []


def check_image_size(name: str, shape: tuple[int, int, int]) -> None:
    """Raise NetworkError when images of this shape are too small for the network."""
    least = find_network(name).smallest_image
    if min(shape[1:]) < least:
        small = [net.name for net in NETWORKS.values() if min(shape[1:]) >= net.smallest_image]
        raise NetworkError(
            f"model {name} needs images of at least {least}x{least} pixels, these have "
            f"{shape[1]}x{shape[2]}; use --model {' or '.join(small) or 'with larger images'}"
        )


def initialise(model: nn.Module, name: str, seed: int) -> nn.Module:
    """Initialise all layers: weights He normal, biases 0, norms reset.

    Args:
        model: a network, full or compressed; parameters of other layers stay as they are.
        name: name of the network, which may set the spread of the convolutions.
        seed: the same seed gives the same weights.
    """
    generator = torch.Generator().manual_seed(seed)
    spread = find_network(name).convolution_std
    for module in model.modules():
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
            if module._parameters.get("weight") is None:
                continue  # computed (weight norm): its parameters stay as built
            if spread is not None and not isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=spread, generator=generator)
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.modules.batchnorm._NormBase):
            module.reset_running_stats()
            module.reset_parameters()
    return model


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device, channels last in memory, the fastest layout on CPU and GPU."""
    return model.to(device).to(memory_format=torch.channels_last)


def has_scales(part: nn.Module) -> TypeGuard[BatchNorm]:
    """Whether this is a batch norm with trainable scales."""
    return isinstance(part, BatchNorm) and part.affine


def scaled_norms(model: nn.Module) -> list[BatchNorm]:
    """The batch norms that have trainable scales."""
    return [part for part in model.modules() if has_scales(part)]
