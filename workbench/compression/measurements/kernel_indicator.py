"""KSE indicator of the kernels that read each filter; computed from weights, without images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from workbench.compression.evidence.evidence import Array
from workbench.compression.groups.rebuild import Convolution
from workbench.compression.groups.structure import Cut, FilterGroup, Indices
from workbench.data.catalog import Source
from workbench.data.image_batches import ImageSet

NEIGHBOURS = 5
_MOST_VALUES = 2**24  # distances that are held at once


def measure(
    model: nn.Module,
    groups: Sequence[FilterGroup],
    images: ImageSet,
    source: Source,
    device: torch.device,
) -> dict[str, Array]:
    """Compute each filter's mean indicator over the layers that read it; see ``methods.kse``.

    The arguments are those of ``measure_responses``; only the weights are read. The arrays have
    shape (n,) and values in [0, 1].
    """
    readers: dict[str, list[tuple[str, Cut]]] = {}
    for group in groups:
        for cut in group.cuts:
            if cut.side == "inputs":
                readers.setdefault(cut.layer, []).append((group.name, cut))
    sums = {group.name: np.zeros(group.filters) for group in groups}
    counts = {group.name: np.zeros(group.filters) for group in groups}
    for name, cuts in readers.items():
        layer = model.get_submodule(name)
        if not isinstance(layer, (*Convolution, nn.Linear)):
            continue  # a stream of full width
        units = [(owner, *unit) for owner, cut in cuts for unit in _units(cut)]
        found = [_sparsity_and_entropy(layer, places, device) for _, _, places in units]
        sparsity, entropy = (np.concatenate(part) for part in zip(*found, strict=True))
        ends = np.cumsum([len(filters) for _, filters, _ in units])
        parts = np.split(indicators(sparsity, entropy), ends[:-1])
        for (owner, filters, _), part in zip(units, parts, strict=True):
            sums[owner][filters] += part
            counts[owner][filters] += 1
    return {
        name: np.where(counts[name] > 0, total / np.maximum(counts[name], 1), 1.0)
        for name, total in sums.items()
    }


def indicators(sparsity: Array, entropy: Array) -> Array:
    """Indicators of a layer's input channels, shape (c,), in [0, 1]; 1 if all are equal.

    Args:
        sparsity: shape (c,): sum of the L1 norms of the kernels of each channel.
        entropy: shape (c,): entropy of the kernels' distances, in bits.
    """
    scaled = np.sqrt(_scaled(sparsity, 1.0) / (1 + _scaled(entropy, 0.0)))
    return _scaled(scaled, 1.0)


def channel_indicators(layer: nn.Module, device: torch.device) -> Array:
    """Indicators of the input channels of one convolution, shape (c,), in [0, 1]."""
    assert isinstance(layer, Convolution)
    places = np.arange(layer.in_channels)[:, None]
    return indicators(*_sparsity_and_entropy(layer, places, device))


def _scaled(values: Array, if_equal: float) -> Array:
    """Values moved and scaled to [0, 1]; ``if_equal`` if they are the same but for rounding."""
    low, high = values.min(), values.max()
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        return np.full_like(values, if_equal)
    scaled: Array = (values - low) / (high - low)
    return scaled


def _units(cut: Cut) -> Iterator[tuple[Indices, Indices]]:
    """Filters, shape (u,), and the inputs of each, shape (u, p), by number of inputs."""
    order = np.lexsort((cut.pairs[:, 1], cut.pairs[:, 0]))
    filters, starts, counts = np.unique(cut.pairs[order, 0], return_index=True, return_counts=True)
    for size in np.unique(counts):
        own = counts == size
        places = starts[own][:, None] + np.arange(size)
        yield filters[own], cut.pairs[order, 1][places]


def _sparsity_and_entropy(
    layer: nn.Module, places: Indices, device: torch.device
) -> tuple[Array, Array]:
    """Sparsity and entropy of input channels, each of shape (u,).

    Args:
        layer: a convolution or a linear layer.
        places: shape (u, p): the inputs of each channel.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)
    weight = weight.detach().to(device).double().reshape(*weight.shape[:2], -1)
    groups = layer.groups if isinstance(layer, Convolution) else 1
    wide, deep = len(weight) // groups, weight.shape[1]
    sparsity, entropy = np.zeros(len(places)), np.zeros(len(places))
    step = max(1, _MOST_VALUES // wide**2)
    for number in range(groups):
        rows = weight[number * wide : (number + 1) * wide]
        members = np.flatnonzero(places[:, 0] // deep == number)
        for start in range(0, len(members), step):
            some = members[start : start + step]
            columns = torch.from_numpy(places[some] % deep).to(device)
            kernels = rows[:, columns].transpose(0, 1).flatten(2)  # (u, N, p k^2)
            sparsity[some] = kernels.abs().sum(dim=(1, 2)).cpu().numpy()
            entropy[some] = _entropy(kernels).cpu().numpy()
    return sparsity, entropy


def _entropy(kernels: Tensor) -> Tensor:
    """Entropy of the distances to the nearest kernels, in bits, shape (u,).

    Args:
        kernels: shape (u, N, d).
    """
    near = min(NEIGHBOURS, kernels.shape[1] - 1)
    if near == 0:
        return kernels.new_zeros(len(kernels))
    if kernels.shape[2] == 1:
        density = _density_of_values(kernels[..., 0], near)
    else:
        # The faster mode, by products, is wrong in the last digits, which matters for zeros.
        distances = torch.cdist(kernels, kernels, compute_mode="donot_use_mm_for_euclid_dist")
        density = distances.topk(near + 1, largest=False).values.sum(dim=2)  # and to itself: 0
    total = density.sum(dim=1, keepdim=True)
    shares = density / total.where(total > 0, 1.0)
    bits: Tensor = -torch.special.xlogy(shares, shares).sum(dim=1) / math.log(2)
    return bits


def _density_of_values(values: Tensor, near: int) -> Tensor:
    """Summed distances to the nearest values, shape (u, N), in ascending order of the values.

    Sorted values have their nearest ones beside them, so wide linear layers need no N^2 distances.
    """
    ordered = values.sort(dim=1).values
    padded = nn.functional.pad(ordered, (near, near), value=float("inf"))
    width = values.shape[1]
    others = [
        (padded[:, near + shift : near + shift + width] - ordered).abs()
        for shift in (*range(-near, 0), *range(1, near + 1))
    ]
    return torch.stack(others, dim=2).topk(near, dim=2, largest=False).values.sum(dim=2)
