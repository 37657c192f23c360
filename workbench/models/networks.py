"""The table of networks, and what is common to them: size check, initialisation, layer list."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from workbench.errors import NetworkError
from workbench.models import simplecnn, vgg16


@dataclass(frozen=True)
class Schedule:
    """The training that a network's authors give it (source paper, appendix C).

    Attributes:
        epochs: length of the training.
        decay_epoch: after this one the learning rate is multiplied by 0.1.
        batch_size: images a step.
        learning_rate: before the decay.
        weight_decay: L2 penalty; ``weight_decay_of`` holds the sources that differ.
        augment: whether images are cropped and flipped, where the data set allows it.
    """

    epochs: int
    decay_epoch: int
    batch_size: int
    augment: bool
    learning_rate: float = 0.1
    weight_decay: float = 1e-4
    weight_decay_of: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """One architecture.

    Attributes:
        build: from image shape, number of classes and widths to a network.
        widths: filters of the analysed layers of the full network.
        smallest_image: least height and width that leave something to classify.
    """

    name: str
    build: Callable[[tuple[int, int, int], int, Sequence[int]], nn.Sequential]
    widths: tuple[int, ...]
    smallest_image: int
    schedule: Schedule


NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network(
            "simplecnn",
            simplecnn.build,
            simplecnn.WIDTHS,
            simplecnn.SMALLEST_IMAGE,
            Schedule(epochs=50, decay_epoch=30, batch_size=512, augment=False),
        ),
        Network(
            "vgg16",
            vgg16.build,
            vgg16.WIDTHS,
            vgg16.SMALLEST_IMAGE,
            Schedule(
                epochs=160,
                decay_epoch=90,
                batch_size=256,
                augment=True,
                weight_decay_of={"cifar100": 5e-4},
            ),
        ),
    )
}


def build_network(
    name: str,
    shape: tuple[int, int, int],
    classes: int,
    widths: Sequence[int] | None = None,
    *,
    seed: int = 0,
) -> nn.Sequential:
    """Build and initialise a network.

    Args:
        name: a name in ``NETWORKS``.
        shape: channels, height, width of an image.
        classes: number of outputs, at least 1.
        widths: filters of the analysed layers, as a recipe gives them; the full network's
            when None.
        seed: draws the weights (He et al., 2015); the same seed gives the same weights.

    Raises:
        NetworkError: when the image is too small for the network.
    """
    network = NETWORKS[name]
    check_image_size(name, shape)
    with torch.random.fork_rng(devices=[]):
        model = network.build(shape, classes, widths or network.widths)
    return initialise(model, seed)


def check_image_size(name: str, shape: tuple[int, int, int]) -> None:
    """Raise NetworkError when nothing would be left of an image of this shape."""
    least = NETWORKS[name].smallest_image
    if min(shape[1:]) < least:
        small = [net.name for net in NETWORKS.values() if min(shape[1:]) >= net.smallest_image]
        raise NetworkError(
            f"model {name} needs images of at least {least}x{least} pixels, these have "
            f"{shape[1]}x{shape[2]}; use --model {' or '.join(small) or 'with larger images'}"
        )


def initialise(model: nn.Sequential, seed: int) -> nn.Sequential:
    """Draw all weights anew: He normal for weights, 0 for biases, batch norms as new."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.reset_running_stats()
            module.reset_parameters()
    return model


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device, channels last in memory: the fast layout on every processor."""
    return model.to(device).to(memory_format=torch.channels_last)


def filter_layers(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Every layer that has filters, by name, in order; the last one is the classifier."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    }


def analysed_layers(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers that PFA analyses: all but the classifier (source paper, section 3).

    Raises:
        NetworkError: when the network has no layer besides its classifier.
    """
    layers = filter_layers(model)
    if len(layers) < 2:
        raise NetworkError(
            f"{type(model).__name__} has {len(layers)} layer(s) with filters; there is nothing "
            "to compress beside the classifier"
        )
    return dict(list(layers.items())[:-1])
