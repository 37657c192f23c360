"""What a recipe comes to, before anything is trained: costs, shared lists, what stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.compression.costs import Costs
from workbench.compression.recipes import Recipe
from workbench.reporting.tables import count, percent


def cost_dict(full: Costs, small: Costs) -> dict[str, Any]:
    """Predicted costs of the compressed network beside the full one's, as plain data."""
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
    """What the recipe comes to."""
    text = (
        f"parameters {count(small.parameters)} of {count(full.parameters)} "
        f"({percent(small.parameters / full.parameters)}), FLOPs {count(small.flops)} of "
        f"{count(full.flops)} ({percent(small.flops / full.flops)})"
    )
    if small.latency_ms is None or full.latency_ms is None:
        return text
    return f"{text}, {small.latency_ms:.2f} ms instead of {full.latency_ms:.2f} ms an image"


def group_notes(recipe: Recipe) -> list[str]:
    """What is shared, measured elsewhere, rounded or left as it is, a line each."""
    lines = []
    for layer in recipe.layers:
        if layer.shared_by:
            others = [name for name in layer.shared_by if name != layer.layer]
            measured = f"; measured at {layer.measured_at}" if layer.measured_at else ""
            lines.append(f"{layer.layer}: shares its filters with {_few(others)}{measured}")
        if layer.kept > layer.wanted:
            lines.append(f"{layer.layer}: {layer.wanted} asked, {layer.kept} can be built")
    reasons: dict[str, list[str]] = {}
    for name, reason in recipe.uncompressed.items():
        reasons.setdefault(reason, []).append(name)
    return lines + [f"left as it is: {_few(names)}: {why}" for why, names in reasons.items()]


def _few(names: Sequence[str]) -> str:
    """The first names of a list, and how many there are more."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
