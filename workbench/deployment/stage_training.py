"""The short trainings of stages: on the CPU, in float32, without augmentation, with fixed seeds.

The loss is the cross-entropy. The rate falls from its start to 0 along a cosine. The same network
and the same images give the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench.data.augmentation import normalise
from workbench.data.image_batches import WHOLE, ImageSet, Share
from workbench.data.streamed_images import Stream
from workbench.errors import TrainingError
from workbench.models.weight_files import Card
from workbench.training.norm_statistics import estimate_norms
from workbench.training.plans import batch_sizes, derive_seed

BATCH = 32
_CPU = torch.device("cpu")
#: Called with the number of a step, from 0, and the number of all steps.
OnStep = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class StagePlan:
    """How a stage trains.

    Attributes:
        stage: its name; it determines the order of the images.
        epochs: at least 1.
        learning_rate: of the first step.
        optimizer: of the trained parameters.
        remedy: what to do if the loss is no longer a finite number.
    """

    stage: str
    epochs: int
    learning_rate: float
    optimizer: torch.optim.Optimizer
    remedy: str


@contextmanager
def fixed_random_numbers() -> Iterator[None]:
    """Seed torch inside the block, and restore the caller's random state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def sgd(parameters: Sequence[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """SGD with Nesterov's momentum 0.9."""
    return torch.optim.SGD(parameters, lr=rate, momentum=0.9, nesterov=True)


def train_for_stage(
    network: nn.Module,
    images: ImageSet,
    card: Card,
    plan: StagePlan,
    *,
    before_step: OnStep = lambda step, steps: None,
    after_step: OnStep = lambda step, steps: None,
) -> list[float]:
    """Train a network in place.

    Args:
        network: on the CPU, in the mode in which it is trained.
        before_step: called before each forward pass.
        after_step: called after each update of the weights.

    Returns:
        The mean loss of each epoch.

    Raises:
        TrainingError: when the loss is no longer a finite number.
    """
    sizes = batch_sizes(len(images), BATCH)
    steps, step, losses = plan.epochs * len(sizes), 0, []
    for epoch in range(plan.epochs):
        generator = np.random.default_rng(derive_seed(0, plan.stage, epoch))
        total = 0.0
        for pixels, labels in images_in_order(images, generator.permutation(len(images)), sizes):
            before_step(step, steps)
            cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
            plan.optimizer.param_groups[0]["lr"] = plan.learning_rate * cosine
            loss = nn.functional.cross_entropy(network(normalise(pixels, card)), labels)
            plan.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            plan.optimizer.step()
            after_step(step, steps)
            total += loss.item() * len(labels)
            step += 1
        losses.append(total / len(images))
        if not math.isfinite(losses[-1]):
            raise TrainingError(
                f"the loss of {plan.stage} is {losses[-1]} after epoch {epoch + 1}; {plan.remedy}"
            )
    return losses


def images_in_order(
    images: ImageSet, order: NDArray[np.int64], sizes: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images, uint8, and labels in some order, in batches of the given sizes."""
    if isinstance(images, Stream):
        yield from images.batches(order, list(sizes), _CPU)
        return
    for places in np.split(order, np.cumsum(sizes)[:-1]):
        yield torch.from_numpy(images.pixels[places]), torch.from_numpy(images.labels[places])


def estimate_norms_for_stage(network: nn.Module, images: ImageSet, card: Card) -> None:
    """Measure the statistics of all batch norms on the training images, in place.

    The network is left in evaluation mode.
    """

    def feed(
        sizes: Sequence[int], augment: bool, generator: torch.Generator, share: Share = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        return images_in_order(
            images, torch.randperm(len(images), generator=generator).numpy(), sizes
        )

    network.eval()
    estimate_norms(network, feed, len(images), card, batch_size=BATCH, seed=0)
