"""The dropout masks of a training in one process, for a batch that is divided among processes.

Each process draws the masks of the whole batch from the same stream and uses the rows of its part.
On a CPU, these are the masks of a training in one process. On a GPU, torch's own dropout draws in
another order. Layers that draw random numbers in other ways (stochastic depth, attention) draw for
the part of their process alone, from its own stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from workbench.data.image_batches import Share

_OF_VALUES = (nn.Dropout,)
_OF_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@dataclass
class Masks:
    """Draws masks.

    Attributes:
        share: the process's part of every batch.
        generator: on the device of the training, in the same state in all processes.
        size: number of images of the whole batch.
    """

    share: Share
    generator: torch.Generator
    size: int = 0

    def draw(self, x: Tensor, rate: float, *, by_channel: bool) -> Tensor:
        """The factors of a dropout's input: 0, or 1 / (1 - rate).

        Args:
            x: the input, shape (b, ...), with the process's images of the batch.
            rate: probability of 0, in (0, 1).
            by_channel: whether all places of a channel have the same factor.
        """
        shape = [self.size, *x.shape[1:]]
        if by_channel:
            shape[2:] = [1] * (x.ndim - 2)
        last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
        last = last and not x.is_contiguous()
        layout = torch.channels_last if last else torch.contiguous_format
        mask = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)
        mask.bernoulli_(1 - rate, generator=self.generator).div_(1 - rate)
        return mask[self.share.part(self.size)]


@contextmanager
def shared_dropout(model: nn.Module, masks: Masks) -> Iterator[None]:
    """Let all dropouts of a network use these masks inside the block, in training mode."""
    # Exactly these types, because derived types may do more.
    parts = [part for part in model.modules() if type(part) in (*_OF_VALUES, *_OF_CHANNELS)]
    for part in parts:
        part.forward = partial(_drop, part, masks)
    try:
        yield
    finally:
        for part in parts:
            del part.forward


def _drop(part: Any, masks: Masks, x: Tensor) -> Tensor:
    if not part.training or not 0 < part.p < 1:
        return type(part).forward(part, x)  # type: ignore[no-any-return]
    return x * masks.draw(x, part.p, by_channel=type(part) in _OF_CHANNELS)
