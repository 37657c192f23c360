"""Which batch norm reads an output directly, found while a network runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

from workbench.models.networks import BatchNorm


@contextmanager
def norms_behind(model: nn.Module, outputs: Mapping[str, Tensor]) -> Iterator[dict[str, str]]:
    """Find the batch norms that read some outputs directly, in the passes of the block.

    Args:
        model: the network; the block runs it.
        outputs: the outputs by name. The block adds each one before a batch norm reads it.

    Returns:
        The name of the batch norm by the name of the output, for the outputs that have one.
    """
    found: dict[str, str] = {}

    def compare(norm: str, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.update({name: norm for name, output in outputs.items() if output is inputs[0]})

    handles = [
        part.register_forward_pre_hook(partial(compare, name))
        for name, part in model.named_modules()
        if isinstance(part, BatchNorm)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
