"""The section about networks with several exits: depths, thresholds, and where images leave."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.reporting.report.page import Cell, Section, Table
from workbench.reporting.tables import percent

_COLUMNS = ("network", "exit", "images that leave", "FLOPs up to it", "threshold")


@dataclass(frozen=True)
class NetworkExits:
    """The exits of one network, the last one included.

    Attributes:
        network: its label.
        shares: of the images that leave at each exit, mean over the seeds, in [0, 1].
        depths: of each exit before the last, as a share of the network's FLOPs; empty if they are
            not recorded.
        thresholds: of each of these exits, one for each seed; infinity if no image leaves there.
    """

    network: str
    shares: tuple[float, ...]
    depths: tuple[float, ...] = ()
    thresholds: tuple[tuple[float, ...], ...] = ()


def exits_section(networks: Sequence[NetworkExits], split: str) -> Section:
    """Where the images leave each network.

    Args:
        split: the images, "test" or "validation".
    """
    rows = [row for each in networks for row in _rows(each)]
    lines = [
        "An image leaves at the first exit that gives a class a probability of at least the exit's "
        "threshold; all others leave at the last exit.",
        f"The shares are those of the {split} images. The thresholds were chosen on training "
        "images that the exits did not learn from. FLOPs are shares of the network's.",
    ]
    caption = "Exits of each network. Select a heading to sort."
    return Section("exits", "Exits", lines, [Table(caption, _COLUMNS, rows)])


def _rows(each: NetworkExits) -> list[list[Cell]]:
    last = len(each.shares)
    depths = [*each.depths, 1.0]
    return [
        [
            Cell(each.network),
            Cell("last" if number == last else str(number), number),
            Cell(percent(share), share),
            _depth(depths[number - 1]) if len(depths) == last else Cell("-"),
            _threshold(each.thresholds[number - 1 : number]),
        ]
        for number, share in enumerate(each.shares, start=1)
    ]


def _depth(share: float) -> Cell:
    return Cell(f"{100 * share:.3g} %", share)


def _threshold(found: Sequence[Sequence[float]]) -> Cell:
    """The threshold of an exit, or the smallest and largest one of several seeds."""
    if not found or not found[0]:
        return Cell("-")
    used = [each for each in found[0] if math.isfinite(each)]
    if not used:
        return Cell("no image leaves")
    low, high = min(used), max(used)
    text = f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}"
    return Cell(text if len(used) == len(found[0]) else f"{text} or none", low)
