"""Price of a filter: the cost that a network saves with one filter less, for each filter group.

The price covers everything that a filter removes: its weights, its entries in norms, and the inputs
of the layers that read it. The other layers have their full widths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from workbench.compression.costs.sizes import sizes_of
from workbench.compression.evidence.evidence import Evidence, FilterPrice
from workbench.compression.groups.structure import Structure


def filter_prices(
    network: nn.Module, structure: Structure, shape: tuple[int, int, int]
) -> dict[str, FilterPrice]:
    """The price of one filter by group.

    Where grouped convolutions allow only the removal of several filters together, it is their
    mean; a group that cannot be narrowed has a price of 0.

    Args:
        network: the full network.
        structure: its filter groups.
        shape: channels, height, width of an image.
    """
    costs = sizes_of(network, structure, shape)
    full = costs({})
    prices = {}
    for group in structure.groups:
        if group.filters == group.blocks:
            prices[group.name] = FilterPrice(0.0, 0.0)
            continue
        less = costs({group.name: group.filters - group.blocks})
        prices[group.name] = FilterPrice(
            parameters=(full.parameters - less.parameters) / group.blocks,
            flops=(full.flops - less.flops) / group.blocks,
        )
    return prices


def with_prices(
    evidence: Sequence[Evidence],
    network: nn.Module,
    structure: Structure,
    shape: tuple[int, int, int],
) -> tuple[Evidence, ...]:
    """The evidence with the prices of the filters of ``network``."""
    prices = filter_prices(network, structure, shape)
    return tuple(replace(found, price=prices[found.group.name]) for found in evidence)
