"""What can be removed together: a network's filter groups, as plain data.

A filter group is a set of layers whose filters stand or fall together: one convolution alone, a
pointwise convolution with the depthwise one behind it, or all the layers that feed one stream
of additions. Each group has one list of kept filters (source paper, section 3, and its
appendix on residual networks).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workbench.errors import NetworkError

Side = Literal["filters", "inputs"]
SIDES: tuple[Side, Side] = ("filters", "inputs")


@dataclass(frozen=True, eq=False)
class Cut:
    """What goes from one layer when filters of a group are removed.

    Attributes:
        layer: the layer's name in the network.
        side: whether the layer's own filters go, or inputs of it.
        pairs: shape (p, 2), int64: filter of the group, index on that side of the layer. A
            filter may stand for several inputs (height x width of them after a flatten).
    """

    layer: str
    side: Side
    pairs: NDArray[np.int64]

    def indices(self, filters: NDArray[np.int64]) -> NDArray[np.int64]:
        """The indices on this side that belong to some filters of the group, ascending."""
        chosen = np.isin(self.pairs[:, 0], filters)
        return np.unique(self.pairs[chosen, 1])


@dataclass(frozen=True)
class ResponsePoint:
    """Where a group's responses are measured.

    Attributes:
        layer: the layer whose own output it is; None when it is an addition's.
        addition: number of the addition in the order of execution, from 0.
        inside: for people: the innermost module in which it happens.
        channels: the channel of each filter of the group.
    """

    layer: str | None = None
    addition: int | None = None
    inside: str = ""
    channels: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.layer if self.layer is not None else f"addition in {self.inside or 'network'}"


@dataclass(frozen=True)
class FilterGroup:
    """Layers whose filters stand or fall together.

    Attributes:
        name: the first of its layers in the order of execution.
        filters: how many filters it has.
        layers: the layers whose filters they are, in the order of execution.
        response: where its responses are measured.
        blocks: a grouped convolution divides the filters into so many blocks of neighbours, and
            the same number must be kept in each; 1 where there is none.
        cuts: everything that goes with a filter.
    """

    name: str
    filters: int
    layers: tuple[str, ...]
    response: ResponsePoint
    blocks: int = 1
    cuts: tuple[Cut, ...] = ()

    def buildable(self, count: int, multiple_of: int = 1) -> int:
        """The least width of at least ``count`` filters that can be built.

        Args:
            multiple_of: the width is a multiple of this, or the full one.
        """
        unit = math.lcm(self.blocks, multiple_of)
        return min(self.filters, -(-count // unit) * unit)

    def block_indices(self) -> NDArray[np.int64]:
        """Shape (blocks, filters / blocks): the filters of each block."""
        return np.arange(self.filters).reshape(self.blocks, -1)

    def first(self, count: int) -> tuple[int, ...]:
        """The first ``count`` filters, as many of each block.

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
        groups: those that can be compressed, in the order of execution.
        classifier: the one whose filters are the classes; never compressed.
        uncompressed: by layer, why its filters all stay.
        layers: all layers with filters, in the order of execution.
        path: all modules with values of their own, norms included, in the order in which they
            ran in evaluation mode, each as often as it ran.
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
            NetworkError: when there is none, with the reason if the layer stays as it is.
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
        """Kept filters of each group for these widths, the first ones: a shape without weights.

        Raises:
            NetworkError: when the widths are not those of this network's groups.
        """
        if len(widths) != len(self.groups):
            raise NetworkError(
                f"{len(widths)} widths do not fit a network of {len(self.groups)} filter groups"
            )
        return {
            group.name: group.first(count) for group, count in zip(self.groups, widths, strict=True)
        }
