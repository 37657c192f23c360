"""What must be removed with each filter of a layer, according to the dependency graph.

Usually a filter of a group can be removed alone. In the first block of GhostNet it cannot: a
module returns its filters and cheap copies of them side by side, and a shortcut adds both to
another stream. So filter i of that stream can only be removed together with filter i + n. Such a
set of filters is one filter of the group.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Coupled:
    """A part of the network that is removed with filters of a group.

    Attributes:
        node: its node in the graph.
        is_output: whether outputs of the part are removed, not inputs.
        pairs: shape (p, 2): filter of the group, index in this part.
    """

    node: Any
    is_output: bool
    pairs: Indices


def coupled_parts(graph: Any, layer: nn.Module) -> tuple[int, int, list[Coupled]]:
    """Find all parts that are removed with the filters of a layer.

    Args:
        graph: the dependency graph of torch-pruning.
        layer: a convolution or linear layer.

    Returns:
        The number of filters of its group, the number of the layer's filters in each of them, and
        the parts. Sets are found only if they are equally large.
    """
    pruner = graph.get_pruner_of_module(layer)
    filters = int(pruner.get_out_channels(layer))

    def closure(which: Iterable[int]) -> Any:
        return graph.get_pruning_group(layer, pruner.prune_out_channels, list(which))

    def together(found: Any) -> tuple[int, ...]:
        own = (i.idxs for i in found if i.dep.target.module is layer and is_output(i.dep))
        return tuple(sorted({index for idxs in own for index in idxs}))

    def is_output(dep: Any) -> bool:
        return bool(dep.handler == graph.get_pruner_of_module(dep.target.module).prune_out_channels)

    first = together(closure([0]))
    if len(first) > 1:
        sets = _sets(filters, lambda index: together(closure([index])))
        if all(len(each) == len(first) for each in sets):
            parts = _merged([closure([each[0]]) for each in sets])
            return (
                len(sets),
                len(first),
                [Coupled(dep.target, is_output(dep), pairs) for dep, pairs in parts],
            )
    return (
        filters,
        1,
        [
            Coupled(
                item.dep.target,
                is_output(item.dep),
                np.stack([item.root_idxs, item.idxs], axis=1).astype(np.int64),
            )
            for item in closure(range(filters))
        ],
    )


def _sets(filters: int, together: Any) -> list[tuple[int, ...]]:
    """Disjoint sets of filters, in the order of their first ones."""
    sets: list[tuple[int, ...]] = []
    seen: set[int] = set()
    for index in range(filters):
        if index not in seen:
            found = together(index)
            sets.append(found)
            seen.update(found)
    return sets


def _merged(closures: list[Any]) -> list[tuple[Any, Indices]]:
    """The dependencies of all sets together, with pairs: number of the set, index."""
    parts: dict[tuple[int, Any], tuple[Any, list[Indices]]] = {}
    for number, found in enumerate(closures):
        for item in found:
            key = id(item.dep.target), item.dep.handler
            pairs = [(number, index) for index in item.idxs]
            parts.setdefault(key, (item.dep, []))[1].append(np.array(pairs, dtype=np.int64))
    return [(dep, np.unique(np.concatenate(pairs), axis=0)) for dep, pairs in parts.values()]
