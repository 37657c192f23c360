"""Distillation: the interface between a training loop and the teacher of its network.

The loops use only the interface ``Guide``. A ``Teacher`` is a trained network whose probabilities,
and features for some objectives, another network learns (``training.objectives``). In
``mutual_learning``, two networks teach each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from workbench.models.networks import place
from workbench.training.mean_teacher import MeanTeacher
from workbench.training.objectives import FeatureLoss
from workbench.training.objectives.matched_layers import FeatureTap, MatchedLayer
from workbench.training.objectives.soft_targets import soft_loss

#: The loss of logits on the labels of the batch.
LabelLoss = Callable[[Tensor], Tensor]


class Guide(Protocol):
    """Teaches the network of a training loop."""

    def prepare(self, device: torch.device) -> None:
        """Move what it needs to the device of the training."""

    def attached(self, student: nn.Module) -> AbstractContextManager[object]:
        """Teach this network inside the block."""

    def logits(self, inputs: Tensor) -> Tensor:
        """What the student's logits are compared with, for the inputs of the step.

        The student has just run on the same inputs.
        """

    def mix(self, on_labels: LabelLoss, logits: Tensor, wanted: Tensor) -> Tensor:
        """The loss of the step.

        Args:
            on_labels: the loss of logits on the labels of the batch.
            logits: shape (b, classes), the student's, fp32.
            wanted: what ``logits`` returned, fp32.
        """

    def take_step(self, factor: float) -> None:
        """Update what the optimiser must not, between its gradients and its step.

        Args:
            factor: of the learning rate at this step, relative to that of the plan.
        """


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network that another network learns from.

    Attributes:
        network: in evaluation mode, on the device of the training.
        temperature: T, above 0.
        weight: a, in [0, 1]: 0 uses the labels alone, 1 the teacher alone.
        features: how features are compared, too; None compares probabilities only.
        layers: the layers at which features are compared.
    """

    network: nn.Module
    temperature: float
    weight: float
    features: FeatureLoss | None = None
    layers: tuple[MatchedLayer, ...] = ()
    _taps: list[FeatureTap] = field(default_factory=list, init=False, repr=False)

    def prepare(self, device: torch.device) -> None:
        """Move the teacher to the device of the training."""
        place(self.network, device).eval()

    @contextmanager
    def attached(self, student: nn.Module) -> Iterator[None]:
        """Keep the features of the student and the teacher inside the block."""
        if self.features is None:
            yield
            return
        teachers = self.network.members if isinstance(self.network, MeanTeacher) else [self.network]
        self._taps.append(FeatureTap(student, self.layers, trained=True))
        self._taps.extend(FeatureTap(each, self.layers, trained=False) for each in teachers)
        try:
            yield
        finally:
            while self._taps:
                self._taps.pop().close()

    def logits(self, inputs: Tensor) -> Tensor:
        """The teacher's logits for the student's inputs: shape (b, classes)."""
        with torch.no_grad():
            answers: Tensor = self.network(inputs)
        return answers

    def mix(self, on_labels: LabelLoss, logits: Tensor, wanted: Tensor) -> Tensor:
        """Mix the loss on the labels with the loss on the teacher's probabilities and features.

        Args:
            on_labels: the loss of logits on the labels of the batch.
            logits, wanted: shape (b, classes), the student's and the teacher's, fp32.
        """
        soft = soft_loss(logits, wanted, self.temperature)
        loss = (1 - self.weight) * on_labels(logits) + self.weight * soft
        if self.features is None:
            return loss
        return loss + self.features.weight * self._feature_loss(self.features)

    def take_step(self, factor: float) -> None:
        """Do nothing: a teacher does not learn."""

    def _feature_loss(self, how: FeatureLoss) -> Tensor:
        """Summed over the layers; the mean over the teachers, if there are two."""
        student, *teachers = self._taps
        losses = [
            how.loss(
                student.features(layer, layer.ours), teacher.features(layer, layer.theirs).detach()
            )
            for layer in self.layers
            for teacher in teachers
        ]
        return torch.stack(losses).sum() / len(teachers)
