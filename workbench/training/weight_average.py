"""Exponential moving average of the weights during a training (method card).

Idea: the last steps of SGD wander around a minimum; an average over many steps lies closer to its
centre. The average is evaluated and stored; it has no effect on the training itself.
Formula: after each step, a <- d a + (1 - d) w, with d = min(decay, (1 + t) / (10 + t)) after t
earlier steps. The second term keeps the initial weights from dominating a short training. The
statistics of batch norms belong to other weights, so they are estimated again on the training
images at the end (``norm_statistics``).
Cost: one more copy of the weights, one multiply-add per weight and step, and one forward pass over
the training images at the end.
When it does not help: where the learning rate falls to 0 slowly, because the last weights then
hardly move, and with a decay whose memory, 1 / (1 - decay) steps, is a large part of the training:
the average then contains weights that were not trained enough.

Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", 1992; the rising decay is
that of TensorFlow's ``ExponentialMovingAverage``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """The running average of a network's parameters; buffers are not averaged.

    Attributes:
        tensors: the average of each parameter, by its name.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from the network's present weights.

        Args:
            decay: in [0, 1); 0 keeps the last weights.
        """
        self._decay = decay
        self._weights = dict(model.named_parameters())
        self.tensors = {name: weight.detach().clone() for name, weight in self._weights.items()}

    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 0 over the whole training."""
        weights = [weight.detach() for weight in self._weights.values()]
        torch._foreach_lerp_(list(self.tensors.values()), weights, 1 - decay_at(self._decay, step))

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from saved averages."""
        for name, average in self.tensors.items():
            average.copy_(tensors[name])

    def hand_over(self) -> None:
        """Put the averages in the place of the network's weights."""
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(self.tensors[name])


def decay_at(decay: float, step: int) -> float:
    """The decay at a step, counted from 0."""
    return min(decay, (1 + step) / (10 + step))
