"""What a stage after training receives and returns, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from workbench.data.image_batches import ImageSet
from workbench.models.weight_files import Card


@dataclass(frozen=True, eq=False)
class Rewind:
    """How to train a network again from where it started.

    Attributes:
        make: makes the network with the weights that its training started from, in float32 on the
            CPU; the same weights at every call.
        train: trains such a network in place, exactly as the trained network was, and leaves it on
            the CPU.
    """

    make: Callable[[], nn.Module]
    train: Callable[[nn.Module], None]


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A trained network and the target's training images.

    Attributes:
        network: in evaluation mode, on the CPU, float32; a stage does not change it.
        card: its classes, its input and its normalisation.
        train: the target's training images, uint8, and their labels.
        rewind: how to train it again; None unless the stage ``rewinds``.
    """

    network: nn.Module
    card: Card
    train: ImageSet
    rewind: Rewind | None = None


@dataclass(frozen=True)
class StageReport:
    """How a stage made its file.

    Attributes:
        left_float: operators of the file that compute in float32, such as "Softmax (1)".
        details: choices and measurements as plain data, for the record.
    """

    left_float: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
