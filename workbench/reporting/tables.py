"""Cells of the tables for people, Markdown tables, and numbers with their units."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from workbench.compression.recipe_settings import RECIPE_OPTIONS
from workbench.compression.recipes import Recipe
from workbench.errors import printable
from workbench.reporting.results import ProtocolResult

COLUMNS = (
    "protocol",
    "accuracy (95 % interval)",
    "parameters",
    "footprint",
    "FLOPs",
    "latency",
    "batch of 64",
    "train",
)

RECIPE_COLUMNS = ("layer", "filters", "kept", "inactive", "divergence", "energy kept")


def table_rows(results: Sequence[ProtocolResult]) -> list[tuple[str, ...]]:
    """The cells of the result table, one row per protocol, with the columns ``COLUMNS``."""
    return [
        (
            result.protocol,
            accuracy_text(result),
            count(result.parameters),
            f"{100 * result.footprint:.1f} %",
            f"{count(result.flops)} ({100 * result.flops_ratio:.0f} %)",
            _latency(result.latency_ms),
            _latency(result.latency_64_ms),
            f"{result.train_seconds:.1f} s",
        )
        for result in results
    ]


def accuracy_text(result: ProtocolResult) -> str:
    """Mean ± standard deviation (95 % interval), in percent."""
    low, high = (100 * bound for bound in result.accuracy_interval)
    return f"{percent(result.accuracy_mean)}{_spread(result)} ({low:.1f} to {high:.1f})"


def recipe_rows(recipe: Recipe) -> list[tuple[str, ...]]:
    """The cells of the recipe table, one row per layer, with the columns ``RECIPE_COLUMNS``."""
    return [
        (
            layer.layer,
            str(layer.filters),
            str(layer.kept),
            str(layer.filters - layer.active),
            f"{layer.divergence:.3f} nats",
            f"{100 * layer.energy:.2f} %",
        )
        for layer in recipe.layers
    ]


def method_label(params: Mapping[str, str]) -> str:
    """The method of a run with those of its options that are not the default."""
    words = [params["method"]]
    if "energy" in params:
        words.append(str(params["energy"]))
    words += [f"{n.replace('_', '-')} {params[n]}" for n in RECIPE_OPTIONS if n in params]
    return " ".join(words)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Make a Markdown table; cells are plain text."""
    lines = ["| " + " | ".join(columns) + " |"]
    lines.append("|---" + "|---:" * (len(columns) - 1) + "|")
    lines += ["| " + " | ".join(map(markdown_text, row)) + " |" for row in rows]
    return "\n".join(lines)


def markdown_text(text: str) -> str:
    """Escape text so that a Markdown page shows it literally, on one line."""
    escaped = re.sub(r"([\\`|*\[\]])", r"\\\1", printable(text, longest=None))
    return escaped.replace("<", "&lt;")


def percent(share: float) -> str:
    """A fraction in percent: 12.3 %."""
    return f"{100 * share:.1f} %"


def count(number: float) -> str:
    """A large count with its unit: 14.98 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.2f}{unit}"
    return f"{number:.0f}"


def _latency(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "-"
    return f"{milliseconds:.2f} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"


def _spread(result: ProtocolResult) -> str:
    return "" if result.accuracy_std is None else f" ± {100 * result.accuracy_std:.1f}"
