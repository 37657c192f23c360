"""The mean of two teachers: one knows all classes of the source, one those of the target."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class MeanTeacher(nn.Module):
    """The mean of two networks' probabilities, over all classes of the source.

    The source network divides its probability among all its classes; the target's network has 0
    for classes that are not the target's. Both are softened by the temperature before the mean.

    Args:
        source: the source network, with c logits.
        target: the network of the target, with one logit for each of its classes.
        rows: the source's class of each of the target's classes.
        temperature: T, above 0.
    """

    def __init__(
        self, source: nn.Module, target: nn.Module, rows: Sequence[int], temperature: float
    ) -> None:
        super().__init__()
        self.source, self.target = source, target
        self.register_buffer("rows", torch.tensor(rows), persistent=False)
        self._temperature = temperature

    @property
    def members(self) -> list[nn.Module]:
        """Both networks."""
        return [self.source, self.target]

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (b, c), whose softmax at T is the mean of both networks' at T."""
        rows: Tensor = self.rows  # type: ignore[assignment]
        wide, narrow = (
            nn.functional.log_softmax(network(x).float() / self._temperature, dim=1)
            for network in self.members
        )
        # In logarithms: probabilities below the smallest number would become 0, with log -inf.
        mean = wide - math.log(2)
        own = torch.logaddexp(wide[:, rows], narrow) - math.log(2)
        return self._temperature * mean.index_copy(1, rows, own)
