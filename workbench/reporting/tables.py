"""Cells of the tables for people, Markdown tables, and numbers with their units."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from workbench.compression.costs.costs import Timing
from workbench.compression.methods import FACTORISATIONS
from workbench.compression.recipes.recipe_settings import RECIPE_OPTIONS
from workbench.compression.recipes.recipes import Recipe
from workbench.errors import printable
from workbench.models.factors import SIZES
from workbench.reporting.results import ProtocolResult
from workbench.training.settings import GATE_OPTIONS

COLUMNS = (
    "protocol",
    "accuracy (95 % interval)",
    "size",
    "parameters",
    "footprint",
    "FLOPs",
    "latency",
    "batch of 64",
    "train",
)

RUNTIME_COLUMNS = (
    "network",
    "runtime",
    "batch of 1 (quartiles)",
    "95 % within",
    "batch of 64 (quartiles)",
    "95 % of 64 within",
)

RECIPE_COLUMNS = ("layer", "filters", "kept", "inactive", "divergence", "energy kept")


#: Decimals of the accuracies, in percent, in the tables and the verdict of an adaptation.
ADAPT_DECIMALS = 2


def table_rows(results: Sequence[ProtocolResult]) -> list[tuple[str, ...]]:
    """The cells of the result table, one row per protocol, with the columns ``COLUMNS``."""
    return [
        (
            result.label,
            accuracy_text(result, ADAPT_DECIMALS),
            "-" if result.file_bytes is None else byte_count(result.file_bytes),
            count(result.parameters),
            f"{100 * result.footprint:.1f} %",
            f"{count(result.flops)} ({100 * result.flops_ratio:.0f} %)",
            *map(_latency, _latencies(result)),
            f"{result.train_seconds:.1f} s",
        )
        for result in results
    ]


def accuracy_text(result: ProtocolResult, decimals: int = 1) -> str:
    """Mean ± standard deviation (95 % interval), in percent."""
    low, high = (100 * bound for bound in result.accuracy_interval)
    mean, spread = percent(result.accuracy_mean, decimals), spread_text(result, decimals)
    return f"{mean}{spread} ({low:.{decimals}f} to {high:.{decimals}f})"


def recipe_columns(recipe: Recipe) -> tuple[str, ...]:
    """The columns of the recipe table: ``RECIPE_COLUMNS``, with "rank" or "group size" for "kept"
    where layers are factorised."""
    if not recipe.factorises:
        return RECIPE_COLUMNS
    size = SIZES[FACTORISATIONS[recipe.method].kind]
    return tuple(size if name == "kept" else name for name in RECIPE_COLUMNS)


def recipe_rows(recipe: Recipe) -> list[tuple[str, ...]]:
    """The cells of the recipe table, one row per layer, with the columns ``recipe_columns``.

    A layer that could be factorised and stays as it is has no size, "-".
    """
    sizes = recipe.sizes
    return [
        (
            layer.layer,
            str(layer.filters),
            str(sizes.get(layer.layer, "-") if recipe.factorises else layer.kept),
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
    words += [
        f"{n.replace('_', '-')} {params[n]}".removesuffix(" True")  # an option without a value
        for n in (*RECIPE_OPTIONS, *GATE_OPTIONS)
        if n in params
    ]
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


def percent(share: float, decimals: int = 1) -> str:
    """A fraction in percent: 12.3 %."""
    return f"{100 * share:.{decimals}f} %"


def count(number: float) -> str:
    """A large count with its unit: 14.98 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.2f}{unit}"
    return f"{number:.0f}"


def byte_count(number: int) -> str:
    """A size in bytes with its unit: 3.88 MB (a million bytes)."""
    if number < 1000:
        return f"{number} B"
    if number < 1e6:
        return f"{number / 1e3:.1f} kB"
    return f"{number / 1e6:.2f} MB" if number < 1e9 else f"{number / 1e9:.2f} GB"


def runtime_rows(results: Sequence[ProtocolResult]) -> list[tuple[str, ...]]:
    """The cells of the latency table, one row per network and runtime, each once."""
    rows: dict[tuple[str, ...], None] = {}
    for result in results:
        network = "compressed" if result.compressed else "full"
        for runtime, (one, many) in result.timings.items():
            rows[network, runtime, *_timing(one), *_timing(many)] = None
    return sorted(rows, key=lambda row: row[0], reverse=True)


def _timing(timing: Timing) -> tuple[str, str]:
    spread = f"{_latency(timing.median)} ({timing.low:.3g} to {timing.high:.3g})"
    return spread, _latency(timing.p95)


def _latencies(result: ProtocolResult) -> tuple[float | None, float | None]:
    """Times at batch 1 and 64: in the runtime of the verdict, or else in torch."""
    if result.timing is None:
        return result.latency_ms, result.latency_64_ms
    return result.timing[0].median, result.timing[1].median


def _latency(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "-"
    return f"{milliseconds:.2f} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"


def spread_text(result: ProtocolResult, decimals: int = 1) -> str:
    """The standard deviation in percent, as " ± 0.4"; empty with one seed."""
    spread = result.accuracy_std
    return "" if spread is None else f" ± {100 * spread:.{decimals}f}"
