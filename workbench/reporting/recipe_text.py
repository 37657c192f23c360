"""Description of a recipe before training: costs, shared filters, uncompressed layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.compression.costs import Costs
from workbench.compression.recipes import Recipe
from workbench.reporting.tables import count, percent


def cost_dict(full: Costs, small: Costs) -> dict[str, Any]:
    """Predicted costs of the compressed and the full network, as plain data."""
    return {
        "parameters": small.parameters,
        "footprint": small.parameters / full.parameters,
        "flops": small.flops,
        "flops_ratio": small.flops / full.flops,
        "latency_ms": small.latency_ms,
        "latency_64_ms": small.latency_64_ms,
        "full": {
            "parameters": full.parameters,
            "flops": full.flops,
            "latency_ms": full.latency_ms,
            "latency_64_ms": full.latency_64_ms,
        },
    }


def cost_sentence(full: Costs, small: Costs) -> str:
    """Predicted costs of the compressed network compared with the full one, as text."""
    text = (
        f"parameters {count(small.parameters)} of {count(full.parameters)} "
        f"({percent(small.parameters / full.parameters)}), FLOPs {count(small.flops)} of "
        f"{count(full.flops)} ({percent(small.flops / full.flops)})"
    )
    if small.latency_ms is None or full.latency_ms is None:
        return text
    return f"{text}, {small.latency_ms:.2f} ms instead of {full.latency_ms:.2f} ms per image"


def group_notes(recipe: Recipe) -> list[str]:
    """Lines about layers that share filters, are rounded up, or are not compressed."""
    lines = []
    for layer in recipe.layers:
        if layer.shared_by:
            others = [name for name in layer.shared_by if name != layer.layer]
            measured = f"; measured at {layer.measured_at}" if layer.measured_at else ""
            lines.append(f"{layer.layer}: shares its filters with {_few(others)}{measured}")
        if layer.kept > layer.wanted:
            lines.append(f"{layer.layer}: {layer.wanted} wanted, rounded up to {layer.kept}")
    reasons: dict[str, list[str]] = {}
    for name, reason in recipe.uncompressed.items():
        reasons.setdefault(reason, []).append(name)
    return lines + [f"not compressed: {_few(names)}: {why}" for why, names in reasons.items()]


def _few(names: Sequence[str]) -> str:
    """The first three names of a list and the number of the others."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
