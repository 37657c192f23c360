"""What a person reads: the table, the verdict in one sentence, the note of a run; and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from workbench.compression.recipes import Recipe
from workbench.results import Adaptation, ProtocolResult, Verdict
from workbench.settings import RECIPE_OPTIONS
from workbench.stores import store_uri

if TYPE_CHECKING:
    from rich.table import Table

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
_TEXT_COLUMNS = ("protocol", "layer", "domain", "model", "method", "training")
RECIPE_COLUMNS = ("layer", "filters", "kept", "inactive", "divergence", "energy kept")
_SAME_SPEED = 1.05  # a ratio below this is noise, not a speed-up


def verdict_sentence(verdict: Verdict) -> str:
    """The recommendation and what is traded for it."""
    taken, full = verdict.recommended, verdict.reference
    head = f"{taken.protocol}: {percent(taken.accuracy_mean)}{_spread(taken)}"
    if taken.compressed:
        share = f"{head} at {100 * taken.footprint:.0f} % of the parameters"
        if full is None:
            return share
        return f"{share}, {_speed(taken, full)} {full.protocol} ({percent(full.accuracy_mean)})"
    small = verdict.best_compressed
    if small is None:
        return f"{head}, the full network: no compressed one was trained to compare it with"
    below = 100 * (verdict.best.accuracy_mean - small.accuracy_mean)
    return (
        f"{head}, the full network: the best compressed one, {small.protocol} "
        f"({percent(small.accuracy_mean)} at {100 * small.footprint:.0f} % of the parameters), "
        f"is {below:.1f} points below the best, more than the tolerance of {verdict.tolerance:g}"
    )


def table_rows(results: Sequence[ProtocolResult]) -> list[tuple[str, ...]]:
    """The cells of the result table, one row a protocol, under ``COLUMNS``."""
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
    """The cells of the recipe table, one row a layer, under ``RECIPE_COLUMNS``."""
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
    """The method of a run with whatever of its options is not the default."""
    words = [params["method"]]
    if "energy" in params:
        words.append(str(params["energy"]))
    words += [f"{n.replace('_', '-')} {params[n]}" for n in RECIPE_OPTIONS if n in params]
    return " ".join(words)


def next_steps(adaptation: Adaptation) -> list[str]:
    """The commands that a user is likely to want now."""
    taken = adaptation.verdict.recommended
    uri = adaptation.tracking_uri
    option = "" if uri == store_uri(None) else f" --tracking-uri {uri}"
    where = taken.weights or "not kept; run with --fresh --keep-weights best to have them"
    deploy = [f"export    workbench export {adaptation.run_id}{option}"] if taken.weights else []
    return [
        f"weights   {where}",
        *deploy,
        f"runs      workbench ui{option}",
        f"compare   workbench compare --target {adaptation.settings['target']}{option}",
    ]


def rich_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table for the terminal; numbers are aligned to the right.

    On a narrow terminal what stands in brackets moves to a second line.
    """
    from rich import box
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        foldable = any("(" in row[index] for row in rows)
        justify: Literal["left", "right"] = "left" if column in _TEXT_COLUMNS else "right"
        table.add_column(column, justify=justify, no_wrap=not foldable)
    for row in rows:
        table.add_row(*row)
    return table


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same as Markdown."""
    lines = ["| " + " | ".join(columns) + " |"]
    lines.append("|---" + "|---:" * (len(columns) - 1) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def title(adaptation: Adaptation) -> str:
    """Domain, model and method in one line."""
    settings = adaptation.settings
    seeds = f"{settings['seeds']} seed{'s' if settings['seeds'] > 1 else ''}"
    plan = settings["plan"]
    return (
        f"{settings['target']} · {settings['model']} · {settings['method']} "
        f"({seeds}, {plan['epochs']} epochs, {plan['schedule']} schedule)"
    )


def note(adaptation: Adaptation, run_links: Sequence[tuple[str, str]]) -> str:
    """The Markdown note of the run that holds an adaptation.

    Args:
        run_links: title and link of every run that was trained for another adaptation.
    """
    settings = adaptation.settings
    classes = ", ".join(settings["classes"])
    lines = [
        f"**{verdict_sentence(adaptation.verdict)}**",
        "",
        f"Target {settings['target']}: {classes}.",
        "",
        markdown_table(COLUMNS, table_rows(adaptation.protocols)),
        "",
        interval_note(adaptation.protocols),
        "",
        "Filters kept: "
        + ", ".join(f"{layer.kept}/{layer.filters}" for layer in adaptation.recipe.layers)
        + ".",
    ]
    if run_links:
        lines += ["", "Trained for an earlier adaptation and reused here:", ""]
        lines += [f"- [{name}]({link})" for name, link in run_links]
    return "\n".join(lines)


def interval_note(results: Sequence[ProtocolResult]) -> str:
    """What the spread and the interval in the table mean."""
    seeds = max(len(result.hits) for result in results)
    images = results[0].images
    if seeds > 1:
        return (
            f"Accuracy: mean ± standard deviation over {seeds} seeds on {images} test images; "
            "interval: 95 %, Student's t over the seeds (Wilson over the images where all agree)."
        )
    return (
        f"Accuracy: one seed on {images} test images; interval: 95 %, Wilson over the images "
        "(it says nothing about other seeds: use --seeds)."
    )


def as_dict(adaptation: Adaptation) -> dict[str, Any]:
    """Plain data for JSON; accuracies are fractions, what is undefined is None."""
    settings = adaptation.settings
    return {
        **{name: settings[name] for name in ("source", "target", "model", "method")},
        "settings": dict(settings),
        "recipe": adaptation.recipe.rows(),
        "protocols": [_protocol_dict(result) for result in adaptation.protocols],
        "recommended": adaptation.verdict.recommended.protocol,
        "verdict": verdict_sentence(adaptation.verdict),
        "trained": adaptation.trained,
        "run_id": adaptation.run_id,
        "tracking_uri": adaptation.tracking_uri,
    }


def summary_metrics(adaptation: Adaptation) -> dict[str, float]:
    """Metrics of the run that holds an adaptation: the recommended network's, and all means."""
    taken = adaptation.verdict.recommended
    metrics = {
        "test_accuracy": taken.accuracy_mean,
        "parameters": taken.parameters,
        "footprint": taken.footprint,
        "flops": taken.flops,
        "flops_ratio": taken.flops_ratio,
        "train_seconds": taken.train_seconds,
    }
    for name in ("latency_ms", "latency_64_ms"):
        if getattr(taken, name) is not None:
            metrics[name] = getattr(taken, name)
    for result in adaptation.protocols:
        metrics[f"accuracy_mean/{result.protocol}"] = result.accuracy_mean
        if result.accuracy_std is not None:
            metrics[f"accuracy_std/{result.protocol}"] = result.accuracy_std
    return metrics


def percent(share: float) -> str:
    """A fraction as people read it."""
    return f"{100 * share:.1f} %"


def count(number: float) -> str:
    """A large count with its unit: 14.98 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.2f}{unit}"
    return f"{number:.0f}"


def _protocol_dict(result: ProtocolResult) -> dict[str, Any]:
    return {
        "protocol": result.protocol,
        "accuracy_mean": result.accuracy_mean,
        "accuracy_std": result.accuracy_std,
        "accuracies": list(result.accuracies),
        "accuracy_interval": list(result.accuracy_interval),
        "parameters": result.parameters,
        "footprint": result.footprint,
        "flops": result.flops,
        "flops_ratio": result.flops_ratio,
        "latency_ms": result.latency_ms,
        "latency_64_ms": result.latency_64_ms,
        "train_seconds": result.train_seconds,
        "run_ids": list(result.run_ids),
        "weights": result.weights,
    }


def _latency(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "-"
    return f"{milliseconds:.2f} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"


def _spread(result: ProtocolResult) -> str:
    return "" if result.accuracy_std is None else f" ± {100 * result.accuracy_std:.1f}"


def _speed(taken: ProtocolResult, full: ProtocolResult) -> str:
    if taken.latency_ms is None or full.latency_ms is None:
        return f"{full.flops / taken.flops:.1f}x fewer FLOPs than"
    one = full.latency_ms / taken.latency_ms
    many = ""
    if taken.latency_64_ms is not None and full.latency_64_ms is not None:
        many = f" ({full.latency_64_ms / taken.latency_64_ms:.1f}x in batches of 64)"
    if one >= _SAME_SPEED:
        return f"{one:.1f}x faster{many} than"
    return f"about as fast{many} as" if one * _SAME_SPEED >= 1 else f"{1 / one:.1f}x slower than"
