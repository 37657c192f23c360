"""Text about an adaptation: the verdict in one sentence, the next steps, the note of its run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.reporting.results import Adaptation, ProtocolResult, Verdict
from workbench.reporting.tables import (
    COLUMNS,
    _spread,
    markdown_table,
    markdown_text,
    percent,
    table_rows,
)
from workbench.store.tracking_uris import store_uri

if TYPE_CHECKING:
    pass

_SAME_SPEED = 1.05  # a ratio below this is noise, not a speed-up


def verdict_sentence(verdict: Verdict) -> str:
    """The recommended network, and its accuracy, size and speed compared with the full one."""
    taken, full = verdict.recommended, verdict.reference
    head = f"{taken.protocol}: {percent(taken.accuracy_mean)}{_spread(taken)}"
    if taken.compressed:
        share = f"{head} at {100 * taken.footprint:.0f} % of the parameters"
        if full is None:
            return share
        return f"{share}, {_speed(taken, full)} {full.protocol} ({percent(full.accuracy_mean)})"
    small = verdict.best_compressed
    if small is None:
        return f"{head}, the full network: no compressed network was trained"
    below = 100 * (verdict.best.accuracy_mean - small.accuracy_mean)
    return (
        f"{head}, the full network: the best compressed network, {small.protocol} "
        f"({percent(small.accuracy_mean)} at {100 * small.footprint:.0f} % of the parameters), "
        f"is {below:.1f} points below the best, more than the tolerance of {verdict.tolerance:g}"
    )


def next_steps(adaptation: Adaptation) -> list[str]:
    """Lines with the location of the weights and the next commands."""
    taken = adaptation.verdict.recommended
    uri = adaptation.tracking_uri
    option = "" if uri == store_uri(None) else f" --tracking-uri {uri}"
    where = taken.weights or "not kept; run with --fresh --keep-weights best to keep them"
    deploy = [f"export    workbench export {adaptation.run_id}{option}"] if taken.weights else []
    return [
        f"weights   {where}",
        *deploy,
        f"runs      workbench ui{option}",
        f"compare   workbench compare --target {adaptation.settings['target']}{option}",
    ]


def title(adaptation: Adaptation) -> str:
    """Domain, model and method in one line."""
    settings = adaptation.settings
    seeds = f"{settings['seeds']} seed{'s' if settings['seeds'] > 1 else ''}"
    plan = settings["plan"]
    return (
        f"{settings['target']} · {settings['model']} · {settings['method']} "
        f"({seeds}, {plan['epochs']} epoch{'s' if plan['epochs'] > 1 else ''}, "
        f"{plan['schedule']} schedule)"
    )


def note(adaptation: Adaptation, run_links: Sequence[tuple[str, str]]) -> str:
    """The Markdown note of the run of an adaptation.

    Args:
        adaptation: the adaptation.
        run_links: title and link of every run that was trained for another adaptation.
    """
    settings = adaptation.settings
    classes = ", ".join(settings["classes"])
    lines = [
        f"**{markdown_text(verdict_sentence(adaptation.verdict))}**",
        "",
        markdown_text(f"Target {settings['target']}: {classes}."),
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
        lines += [f"- [{markdown_text(name)}]({link})" for name, link in run_links]
    return "\n".join(lines)


def interval_note(results: Sequence[ProtocolResult]) -> str:
    """Explain the spread and the interval in the table."""
    seeds = max(len(result.hits) for result in results)
    images = results[0].images
    if seeds > 1:
        return (
            f"Accuracy: mean ± standard deviation over {seeds} seeds on {images} test images; "
            "interval: 95 %, Student's t over the seeds (Wilson over the images if seeds agree)."
        )
    return (
        f"Accuracy: one seed on {images} test images; interval: 95 %, Wilson over the images "
        "(it does not include the variation between seeds: use --seeds)."
    )


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
