"""The networks of a result as rows of a table, from the plain data that clients get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.reporting.tables import ADAPT_DECIMALS, byte_count, count, percent

COLUMNS = (
    "network", "accuracy", "95 % interval", "parameters", "FLOPs", "ms per image", "file",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One network.

    Attributes:
        cells: one text for each of ``COLUMNS``.
    """

    cells: tuple[str, ...]
    recommended: bool


def network_rows(result: Mapping[str, Any]) -> list[Row]:
    """One row for each network of a result, in its order."""
    taken = (result.get("recommended"), result.get("recommended_stage", ""))
    networks = [*result["protocols"], *result.get("stages", ())]
    return [
        Row(_cells(network), taken == (network["protocol"], network.get("stage", "")))
        for network in networks
    ]


def _cells(network: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = network["accuracy_interval"]
    spread = network["accuracy_std"]
    accuracy = percent(network["accuracy_mean"], ADAPT_DECIMALS)
    size, latency = network["file_bytes"], network["latency_ms"]
    return (
        f"{network['protocol']} {network.get('stage', '')}".strip(),
        accuracy if spread is None else f"{accuracy} ± {100 * spread:.{ADAPT_DECIMALS}f}",
        f"{100 * low:.1f} to {100 * high:.1f} %",
        f"{count(network['parameters'])} ({100 * network['footprint']:.0f} %)",
        f"{count(network['flops'])} ({100 * network['flops_ratio']:.0f} %)",
        "–" if latency is None else f"{latency:.2f}",
        "–" if size is None else byte_count(size),
    )
