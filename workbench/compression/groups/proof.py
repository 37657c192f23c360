"""Prove that filters of a group can be removed: remove some, and compare the outputs.

First, random noise is added to all values of a copy, so that the proof does not depend on special
values of the weights. Then ``rebuild`` removes some filters of every group, and in another copy
the same filters and everything that depends on them are set to zero. In float64 the outputs of
the two must agree to 1e-9 of the largest logit. If they do not, every group is tested separately.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench.compression.groups.attention_heads import is_attention
from workbench.compression.groups.rebuild import (
    Convolution,
    is_grouped,
    is_parameter,
    rebuild,
    share,
)
from workbench.compression.groups.structure import Cut, FilterGroup, Structure
from workbench.errors import NetworkError
from workbench.models.channel_scatter import Scatter

_TOLERANCE = 1e-9
_SAMPLE = 10_000  # values from which the scale of a parameter is estimated
Kept = Mapping[str, Sequence[int]]


def prove(model: nn.Module, structure: Structure, shape: tuple[int, int, int]) -> Structure:
    """Return the structure with only the groups whose filters can be removed exactly.

    Args:
        model: the network, on the CPU; it is not changed.
        structure: its filter groups.
        shape: channels, height, width of an image.

    Raises:
        NetworkError: when no filters can be removed exactly.
    """
    noisy = with_random_values(model)
    image = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    kept = {group.name: _half(group) for group in structure.groups}
    if _agree(noisy, structure, kept, image) is None:
        return structure
    uncompressed = dict(structure.uncompressed)
    sound = []
    for group in structure.groups:
        problem = _agree(noisy, structure, {group.name: kept[group.name]}, image)
        if problem is None:
            sound.append(group)
        else:
            uncompressed.update(dict.fromkeys(group.layers, problem))
    proven = replace(structure, groups=tuple(sound), uncompressed=uncompressed)
    problem = _agree(noisy, proven, {g.name: kept[g.name] for g in sound}, image) if sound else None
    if not sound or problem:
        raise NetworkError(
            f"{type(model).__name__}: no filters can be removed exactly "
            f"({problem or next(iter(uncompressed.values()), 'no layer has any')})"
        )
    return proven


def zeroed(model: nn.Module, structure: Structure, kept: Kept) -> nn.Module:
    """A copy at full width in which removed filters and all that depends on them are zero."""
    silent = share(model)
    for name, indices in kept.items():
        group = structure.group(name)
        removed = np.setdiff1d(np.arange(group.filters), indices)
        for cut in group.cuts:
            if is_parameter(silent, cut.layer):
                _silence_parameter(silent, cut, cut.indices(removed))
            else:
                _silence(silent.get_submodule(cut.layer), cut.side, cut.indices(removed))
    return silent


def _silence_parameter(model: nn.Module, cut: Cut, gone: NDArray[np.int64]) -> None:
    owner, _, own = cut.layer.rpartition(".")
    part = model.get_submodule(owner)
    values = getattr(part, own).detach().clone()
    values.index_fill_(cut.dim, torch.from_numpy(gone), 0)
    setattr(part, own, nn.Parameter(values))


def _silence(layer: nn.Module, side: str, gone: NDArray[np.int64]) -> None:
    if isinstance(layer, (nn.PReLU, Scatter)) or is_attention(layer):
        return  # its input is zero, and so is its output
    weight = layer.weight
    if not isinstance(weight, Tensor):
        return
    index = torch.from_numpy(gone)
    weight = weight.detach().clone()
    if side == "filters":
        weight[index] = 0
        if isinstance(layer.bias, Tensor):
            bias = layer.bias.detach().clone()
            bias[index] = 0
            layer.bias = nn.Parameter(bias)
    elif isinstance(layer, Convolution) and is_grouped(layer):
        wide, deep = len(weight) // layer.groups, weight.shape[1]
        for channel in gone.tolist():
            block = channel // deep
            weight[block * wide : (block + 1) * wide, channel % deep] = 0
    else:
        weight[:, index] = 0
    layer.weight = nn.Parameter(weight)


def _agree(model: nn.Module, structure: Structure, kept: Kept, image: Tensor) -> str | None:
    """The reason why removing these filters is not exact, or None when it is exact."""
    try:
        smaller = rebuild(model, kept, structure).eval()
        with torch.no_grad():
            ours = smaller(image)
            wanted = zeroed(model, structure, kept)(image)
    except Exception as error:  # noqa: BLE001 - a wrong cut may fail anywhere in the network
        first = (" ".join(str(error).split()) or type(error).__name__)[:160]
        return f"the narrower network does not run ({first})"
    if ours.shape != wanted.shape:
        return "the narrower network has outputs of another shape"
    difference = float((ours - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30))
    if difference <= _TOLERANCE:
        return None
    return f"removing its filters changes the outputs (by {difference:.1e} of the largest)"


def _half(group: FilterGroup) -> tuple[int, ...]:
    """Half of the filters of each block, at least one, drawn with a seed from the group's name."""
    rng = np.random.default_rng(list(group.name.encode()))
    blocks = group.block_indices()
    count = max(1, blocks.shape[1] // 2)
    return tuple(
        int(index) for block in blocks for index in sorted(rng.choice(block, count, replace=False))
    )


def with_random_values(model: nn.Module) -> nn.Module:
    """A float64 copy with random noise, scaled to its values, added to all values."""
    noisy = copy.deepcopy(model).double().eval()
    generator = torch.Generator().manual_seed(0)

    def noise(like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=generator).sub_(0.5).double()

    with torch.no_grad():
        for parameter in noisy.parameters():
            scale = parameter.flatten()[:_SAMPLE].square().mean().sqrt()
            parameter.add_(noise(parameter).mul_(4 * scale.clamp_min(0.05)))
        for name, values in noisy.named_buffers():
            if name.endswith("running_var"):
                values.mul_(1 + noise(values))
            elif name.endswith("running_mean"):
                values.add_(noise(values))
    return noisy
