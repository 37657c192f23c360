"""Description of a recipe before training: costs, shared filters, uncompressed layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.compression.costs.costs import Costs
from workbench.compression.recipes.recipes import Recipe
from workbench.errors import counted
from workbench.models.factors import SIZES
from workbench.reporting.tables import count, percent

#: A layer with a smaller share of its filters is a bottleneck. At 10 % of VGG-16's parameters,
#: PFA-En left layers of 2 to 5 % for ten classes of CIFAR-100, and its network was 16 points less
#: accurate than one of equal shares (one seed).
_BOTTLENECK = 0.05


def method_text(settings: Mapping[str, Any]) -> str:
    """The method in the resolved settings, with the selection if it is not the method's own."""
    chosen = settings.get("selection")
    return str(settings["method"]) + (f" + {chosen}" if chosen else "")


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


def size_text(full: Costs, small: Costs) -> str:
    """Parameters and FLOPs of the compressed network compared with the full one."""
    return (
        f"parameters {count(small.parameters)} of {count(full.parameters)} "
        f"({percent(small.parameters / full.parameters)}), FLOPs {count(small.flops)} of "
        f"{count(full.flops)} ({percent(small.flops / full.flops)})"
    )


def cost_sentence(full: Costs, small: Costs) -> str:
    """Predicted costs of the compressed network compared with the full one, as text."""
    text = size_text(full, small)
    if small.latency_ms is None or full.latency_ms is None:
        return text
    return f"{text}, {small.latency_ms:.2f} ms instead of {full.latency_ms:.2f} ms per image"


def measured_on(recipe: Recipe) -> str:
    """What a recipe is made from: responses or outputs on images, or weights alone."""
    if not recipe.factorises:
        return f"responses to {recipe.images:,} images"
    return f"outputs on {recipe.images:,} images" if recipe.images else "weights alone"


def kept_sentence(recipe: Recipe) -> str:
    """The filters kept in each layer, or the rank or group size of each factorised layer."""
    if not recipe.factorises:
        each = (f"{layer.kept}/{layer.filters}" for layer in recipe.layers)
        return f"Filters kept: {', '.join(each)}."
    if not recipe.factors:
        return "No layer is factorised."
    size = SIZES[recipe.factors[0].kind]
    sizes = ", ".join(f"{factor.layer} {factor.size}" for factor in recipe.factors)
    return f"All filters kept; {size} of the factorised layers: {sizes}."


def no_factor_warning(recipe: Recipe) -> list[str]:
    """A line if a method that factorises layers replaces none."""
    if not recipe.factorises or recipe.factors:
        return []
    return [
        f"warning: {recipe.method} replaces no layer, so the network stays as it is; set a smaller "
        "budget, as in --flops 0.5"
    ]


def bottleneck_warning(recipe: Recipe) -> list[str]:
    """A line that names the narrowest layer, if a budget leaves a layer too few filters.

    Layers that keep all filters that respond to the domain are left out: more would not help.
    """
    narrow = [
        layer
        for layer in recipe.layers
        if layer.kept < min(_BOTTLENECK * layer.filters, layer.active)
    ]
    if not narrow:
        return []
    least = min(narrow, key=lambda layer: layer.kept / layer.filters)
    others = len(narrow) - 1
    keep = f"{counted(others, 'more layer')} {'keeps' if others == 1 else 'keep'}"
    more = f", and {keep} less than {_BOTTLENECK:.0%}" if others else ""
    return [
        f"warning: {least.layer} keeps only {least.kept} of {least.filters} filters{more}; such a "
        f"bottleneck costs accuracy: try --min-share {_BOTTLENECK:g}, another --method, or a "
        "larger budget"
    ]


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
