"""Lower the dropout rates of a compressed network (method card).

Idea: dropout reduces overfitting of a network with many connections. With fewer connections, a
network needs a lower rate: half of 122 hidden units is too few.
Formula: p' = p sqrt(C' / C), with C and C' the connections (weights) of the layer before the
dropout in the full and in the compressed network. If inputs and filters of this layer are both
reduced to a share r, the rate is p r.
Cost: one forward pass of one image through both networks, before the training.
When it does not help: where the training stops early, because the compressed network then does not
overfit in the first place. Dropout that a network's code calls as a function has no module, and
keeps its rate. "The layer before" is the last one that runs before the dropout, which in a network
of parallel branches may belong to another branch.

Han, Pool, Tran, Dally, "Learning both Weights and Connections for Efficient Neural Networks",
NeurIPS 2015, section 3.2, equations 3 and 4.
"""

from __future__ import annotations

import math

import torch
from torch import nn

_Layer = (nn.modules.conv._ConvNd, nn.Linear)
_Dropout = nn.modules.dropout._DropoutNd


def scale_dropouts(small: nn.Module, full: nn.Module, shape: tuple[int, int, int]) -> None:
    """Lower the dropout rates of a compressed network in place.

    Args:
        small, full: the network with and without compression; their modules have the same names.
        shape: channels, height, width of an image.
    """
    before, after = connections(full, shape), connections(small, shape)
    for name, count in after.items():
        dropout = small.get_submodule(name)
        assert isinstance(dropout, _Dropout)
        dropout.p *= math.sqrt(count / before[name])


def connections(network: nn.Module, shape: tuple[int, int, int]) -> dict[str, int]:
    """Weights of the layer before each dropout, by the dropout's name.

    Dropouts with rate 0, without a layer before them, or that do not run in evaluation mode are
    left out.
    """
    found: dict[str, int] = {}
    last = 0

    def note_layer(module: nn.Module, *_: object) -> None:
        nonlocal last
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        last = weight.numel()

    def note_dropout(name: str) -> None:
        if last:
            found.setdefault(name, last)

    handles = []
    for name, part in network.named_modules():
        if isinstance(part, _Layer):
            handles.append(part.register_forward_hook(note_layer))
        elif isinstance(part, _Dropout) and part.p > 0:
            handles.append(
                part.register_forward_pre_hook(lambda _module, _seen, name=name: note_dropout(name))
            )
    was_training = network.training
    device = next(network.parameters()).device
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *shape, device=device))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    return found


def has_dropout(network: nn.Module) -> bool:
    """Whether the network has a dropout module whose rate is not 0."""
    return any(isinstance(part, _Dropout) and part.p > 0 for part in network.modules())
