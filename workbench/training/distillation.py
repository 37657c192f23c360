"""Distillation: the small network learns the full network's probabilities (method card).

Idea: the full network's probabilities carry more information than the label: they also show which
other classes an image resembles. A network with a quarter of the filters can reproduce them even
where it could not learn them from labels alone.
Formula: loss = (1 - a) CE(y, p(1)) + a T^2 KL(q(T) || p(T)), with the teacher's and the student's
softmax q and p at temperature T. T^2 keeps the gradients' size independent of T.
Cost: one forward pass of the full network per image, in addition to about three of the student.
When it does not help: with two classes, where the probabilities add little to the label, and
where the teacher is no better than the student. The logits of a confident teacher are far apart,
and then the gradient grows with T: at VGG-16's learning rate of 0.1, training on two classes
failed with T = 4, so the default is 1.

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015 (arXiv 1503.02531),
section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network whose probabilities another network learns.

    Attributes:
        network: in evaluation mode, on the device of the training.
        temperature: T, above 0.
        weight: a, in [0, 1]: 0 uses the labels alone, 1 the teacher alone.
    """

    network: nn.Module
    temperature: float
    weight: float

    def logits(self, inputs: Tensor) -> Tensor:
        """The teacher's logits for the student's inputs: shape (b, classes)."""
        with torch.no_grad():
            answers: Tensor = self.network(inputs)
        return answers

    def mix(self, loss: Tensor, logits: Tensor, wanted: Tensor) -> Tensor:
        """Mix the loss on the labels with the loss on the teacher's probabilities.

        Args:
            loss: scalar, cross-entropy with the labels.
            logits, wanted: shape (b, classes), the student's and the teacher's, fp32.
        """
        soft = soft_loss(logits, wanted, self.temperature)
        return (1 - self.weight) * loss + self.weight * soft


def soft_loss(logits: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """T^2 KL(q || p), the mean over the images.

    Args:
        logits, wanted: shape (b, classes), the student's and the teacher's.
    """
    ours = nn.functional.log_softmax(logits / temperature, dim=1)
    theirs = nn.functional.log_softmax(wanted / temperature, dim=1)
    divergence = nn.functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
    return divergence * temperature**2
