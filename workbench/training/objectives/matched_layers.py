"""The layers at which the features of two networks are compared.

Features are the *inputs* of convolutions and linear layers, after norm, activation and additions.
Rebuilding records which input channels of the full network a narrower network keeps. Networks of
one architecture have the same layer names, so one name finds both layers. A map is the input of a
convolution with more than one place; for each spatial resolution, that of the last convolution is
compared.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from workbench.compression.groups.forward_path import noise
from workbench.compression.groups.structure import Structure
from workbench.errors import NetworkError

#: The inputs that an objective compares: the maps of at least ``LARGE`` places, the last or the
#: middle one of all maps, or the input of the classifier, averaged over places.
Reads = Literal["large maps", "last map", "middle map", "embedding"]
LARGE = 16
#: Recipes by filter group; None means all filters.
Kept = Mapping[str, Sequence[int]] | None

_MAP_DIMS = 4


@dataclass(frozen=True)
class MatchedLayer:
    """A layer whose inputs are compared.

    Attributes:
        name: its name in both networks.
        ours, theirs: the student's and the teacher's input channels that correspond, in the same
            order; None where all channels are compared.
        pooled: the inputs are averaged over places first.
    """

    name: str
    ours: tuple[int, ...] | None = None
    theirs: tuple[int, ...] | None = None
    pooled: bool = False


def match_layers(
    reads: Reads,
    network: nn.Module,
    structure: Structure,
    shape: tuple[int, int, int],
    kept: tuple[Kept, Kept] | None = None,
) -> tuple[MatchedLayer, ...]:
    """Choose the layers that an objective compares.

    Args:
        network: the full network, on the CPU; it is not changed.
        structure: its filter groups.
        shape: channels, height, width of an image.
        kept: filters that the student and the teacher keep, to compare channel by channel; None
            compares all channels.

    Raises:
        NetworkError: when the network has no maps to compare.
    """
    matched = []
    for name in _chosen(reads, network, structure, shape):
        ours, theirs = _shared(network, structure, name, *kept) if kept else (None, None)
        matched.append(MatchedLayer(name, ours, theirs, pooled=reads == "embedding"))
    return tuple(matched)


def _chosen(
    reads: Reads, network: nn.Module, structure: Structure, shape: tuple[int, int, int]
) -> list[str]:
    embedding = [structure.classifier.name]
    if reads == "embedding":
        return embedding
    least = LARGE if reads == "large maps" else 2
    maps = _last_maps(network, structure, shape, least)
    if not maps:
        raise NetworkError(
            f"{type(network).__name__} has no convolution that reads a map of at least {least} "
            "places to compare with a teacher's; use --objective soft-targets or rkd"
        )
    if reads == "large maps":
        return maps
    return maps[-1:] if reads == "last map" else [maps[len(maps) // 2]]


def _last_maps(
    network: nn.Module, structure: Structure, shape: tuple[int, int, int], least: int
) -> list[str]:
    """For each resolution, the last convolution that reads a map, in the order of execution.

    Args:
        least: fewest places of a map.
    """
    # Rebuilding cuts the inputs of a grouped convolution together with its filters.
    plain = [
        name
        for name in structure.layers[1:]  # the first one reads the image
        if getattr(network.get_submodule(name), "groups", None) == 1
    ]
    last: dict[tuple[int, ...], str] = {}
    for name, size in _input_sizes(network, plain, shape).items():
        if len(size) == _MAP_DIMS and size[2] * size[3] >= least:
            last.pop(size[2:], None)  # its place in the order is that of the last one
            last[size[2:]] = name
    return list(last.values())


def _input_sizes(
    network: nn.Module, names: Sequence[str], shape: tuple[int, int, int]
) -> dict[str, tuple[int, ...]]:
    """Shapes of the layers' inputs, in the order of execution."""
    probe, sizes = copy.deepcopy(network).eval(), {}

    def hook_of(name: str) -> Callable[..., None]:
        def note(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            sizes[name] = tuple(inputs[0].shape)

        return note

    for name in names:
        probe.get_submodule(name).register_forward_pre_hook(hook_of(name))
    with torch.no_grad():
        probe(noise(shape))
    return sizes


def _shared(
    network: nn.Module, structure: Structure, name: str, ours: Kept, theirs: Kept
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where each of two networks has the input channels that both have."""
    layer: Any = network.get_submodule(name)
    inputs = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    mine, other = (_kept_inputs(structure, name, int(inputs), kept) for kept in (ours, theirs))
    both = np.intersect1d(mine, other)
    return tuple(np.searchsorted(mine, both).tolist()), tuple(np.searchsorted(other, both).tolist())


def _kept_inputs(structure: Structure, name: str, inputs: int, kept: Kept) -> np.ndarray:
    """The inputs of a layer of the full network that remain in a narrower one, ascending."""
    removed = [
        cut.indices(np.setdiff1d(np.arange(group.filters), kept[group.name]))
        for group in structure.groups
        if kept and group.name in kept
        for cut in group.cuts
        if (cut.layer, cut.side) == (name, "inputs")
    ]
    return np.setdiff1d(np.arange(inputs), np.concatenate(removed) if removed else [])


class FeatureTap:
    """Keeps the inputs of some layers of a network in its latest pass.

    Args:
        trained: keep inputs only where gradients are recorded: a network may be run again without
            gradients inside a pass (``compression.groups.watched_layers``).
    """

    def __init__(
        self, network: nn.Module, layers: Sequence[MatchedLayer], *, trained: bool
    ) -> None:
        self._seen: dict[str, Tensor] = {}
        self._linear = {
            each.name: isinstance(network.get_submodule(each.name), nn.Linear) for each in layers
        }
        self._handles = [
            network.get_submodule(each.name).register_forward_pre_hook(
                self._hook_of(each.name, trained)
            )
            for each in layers
        ]

    def _hook_of(self, name: str, trained: bool) -> Callable[..., None]:
        def keep(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if torch.is_grad_enabled() or not trained:
                self._seen[name] = inputs[0]

        return keep

    def features(self, layer: MatchedLayer, channels: Sequence[int] | None) -> Tensor:
        """These channels of a layer's inputs, or all, fp32.

        Shape (b, channels, ...), or (b, channels) if they are pooled over places.
        """
        seen = self._seen[layer.name].float()
        dim = seen.ndim - 1 if self._linear[layer.name] else 1
        if channels is not None:
            seen = seen.index_select(dim, torch.tensor(channels, device=seen.device))
        places = tuple(place for place in range(1, seen.ndim) if place != dim)
        return seen.mean(dim=places) if layer.pooled and places else seen

    def close(self) -> None:
        """Remove the hooks and forget the features."""
        for handle in self._handles:
            handle.remove()
        self._seen.clear()
