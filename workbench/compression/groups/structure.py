"""A network's filter groups, as plain data.

A filter group is a set of layers whose filters must be removed together: a single convolution, a
pointwise convolution with the depthwise one after it, or all layers that feed one stream of
additions. Each group has one list of kept filters (source paper, section 3, and its appendix on
residual networks).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workbench.errors import NetworkError

Indices = NDArray[np.int64]
Side = Literal["filters", "inputs"]
SIDES: tuple[Side, Side] = ("filters", "inputs")
#: What the filters of a group are.
Kind = Literal["filters", "heads", "embedding", "sets"]


@dataclass(frozen=True, eq=False)
class Cut:
    """The part of one layer that is removed with filters of a group.

    Attributes:
        layer: the layer's name in the network.
        side: whether filters or inputs of the layer are removed.
        pairs: shape (p, 2), int64: filter of the group, index on that side of the layer. One
            filter may correspond to several inputs (height x width of them after a flatten).
        dim: the dimension of the channels, if ``layer`` is a parameter that belongs to no layer,
            such as positional embeddings.
    """

    layer: str
    side: Side
    pairs: NDArray[np.int64]
    dim: int = 0

    def indices(self, filters: NDArray[np.int64]) -> NDArray[np.int64]:
        """The indices on this side that correspond to these filters of the group, ascending."""
        chosen = np.isin(self.pairs[:, 0], filters)
        return np.unique(self.pairs[chosen, 1])


@dataclass(frozen=True)
class ResponsePoint:
    """Where a group's responses are measured.

    Attributes:
        layer: the layer whose output is the response; None for an addition.
        addition: number of the addition in the order of execution, from 0; None for a layer.
        inside: the innermost module around the addition, for display.
        channels: the channels of each filter of the group, filter by filter; all filters have the
            same number. The response of several channels is their Euclidean norm.
        of_input: whether the layer's input is the response, in place of its output.
        channels_last: whether the channels are the last dimension of an addition's result.
    """

    layer: str | None = None
    addition: int | None = None
    inside: str = ""
    channels: tuple[int, ...] = ()
    of_input: bool = False
    channels_last: bool = False

    def __str__(self) -> str:
        if self.layer is None:
            return f"addition in {self.inside or 'network'}"
        return f"input of {self.layer}" if self.of_input else self.layer


@dataclass(frozen=True)
class FilterGroup:
    """Layers whose filters must be removed together.

    Attributes:
        name: the first of its layers in the order of execution.
        filters: number of filters.
        layers: the layers that have these filters, in the order of execution.
        response: where its responses are measured.
        blocks: number of blocks of adjacent filters into which grouped convolutions divide the
            filters; each block must keep the same number. 1 without grouped convolutions.
        cuts: all parts of the network that are removed with filters.
        kind: what its filters are: filters, heads of an attention, or an embedding: channels over
            which a layer norm averages, or to which a parameter is added. Or sets of filters that
            can only be removed together (``coupled_filters``).
    """

    name: str
    filters: int
    layers: tuple[str, ...]
    response: ResponsePoint
    blocks: int = 1
    cuts: tuple[Cut, ...] = ()
    kind: Kind = "filters"

    def buildable(self, count: int, multiple_of: int = 1) -> int:
        """The smallest width of at least ``count`` filters that can be built.

        Args:
            count: number of filters.
            multiple_of: the width is a multiple of this, or the full width; heads are not rounded.
        """
        unit = math.lcm(self.blocks, multiple_of if self.kind != "heads" else 1)
        return min(self.filters, -(-count // unit) * unit)

    def block_indices(self) -> NDArray[np.int64]:
        """Shape (blocks, filters / blocks): the filters of each block."""
        return np.arange(self.filters).reshape(self.blocks, -1)

    def first(self, count: int) -> tuple[int, ...]:
        """The first ``count`` filters, the same number from each block.

        Raises:
            NetworkError: when the blocks do not allow this count.
        """
        if not 1 <= count <= self.filters or count % self.blocks:
            raise NetworkError(
                f"layer '{self.name}' cannot have {count} filters: it must be a multiple of "
                f"{self.blocks} up to {self.filters}"
            )
        return tuple(int(i) for i in self.block_indices()[:, : count // self.blocks].flat)


@dataclass(frozen=True)
class Structure:
    """A network's filter groups.

    Attributes:
        groups: the groups that can be compressed, in the order of execution.
        classifier: the group whose filters are the classes; it is never compressed.
        uncompressed: layers that keep all their filters, with the reason.
        layers: all layers with filters, in the order of execution.
        path: all modules with their own values, including norms, in the order in which they ran
            in evaluation mode, each as often as it ran.
    """

    groups: tuple[FilterGroup, ...]
    classifier: FilterGroup
    uncompressed: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    path: tuple[str, ...] = ()

    @property
    def widths(self) -> tuple[int, ...]:
        """Filters of every group of the full network."""
        return tuple(group.filters for group in self.groups)

    def group(self, name: str) -> FilterGroup:
        """The group, or the classifier, of that name.

        Raises:
            NetworkError: when there is none; the message has the reason if the layer is known.
        """
        for group in (*self.groups, self.classifier):
            if group.name == name:
                return group
        shared = next((g.name for g in self.groups if name in g.layers), None)
        if shared:
            raise NetworkError(
                f"layer '{name}' shares its filters with '{shared}'; name that one in the recipe"
            )
        reason = self.uncompressed.get(name)
        raise NetworkError(
            f"layer '{name}' is not compressed: {reason}"
            if reason
            else f"the network has no layer '{name}' that the recipe names"
        )

    def first(self, widths: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """The first filters of each group for these widths, for networks where only widths matter.

        Files of versions that compressed neither heads nor embeddings have widths of the other
        groups alone; their networks have all heads and full embeddings.

        Raises:
            NetworkError: when the widths are not those of this network's groups.
        """
        groups = [group for group in self.groups if group.kind == "filters"]
        if len(widths) != len(groups):
            groups = list(self.groups)
        if len(widths) != len(groups):
            raise NetworkError(
                f"{len(widths)} widths do not fit a network of {len(groups)} filter groups"
            )
        return {group.name: group.first(count) for group, count in zip(groups, widths, strict=True)}
