"""Text about an adaptation: the verdict in one sentence, the next steps, the note of its run."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.reporting.results import (
    SAME_SPEED,
    SIGNIFICANT,
    Adaptation,
    ProtocolResult,
    Verdict,
)
from workbench.reporting.tables import (
    COLUMNS,
    _spread,
    byte_count,
    markdown_table,
    markdown_text,
    percent,
    table_rows,
)
from workbench.store.tracking_uris import store_uri


def verdict_sentence(verdict: Verdict) -> str:
    """The recommended network, and its accuracy, size and speed compared with the full one."""
    taken, full = verdict.recommended, verdict.reference
    head = f"{taken.label}: {percent(taken.accuracy_mean)}{_spread(taken)}"
    if taken.stage:
        return f"{head}{_file_size(taken, full)}{_than(taken, full)}"
    if taken.compressed:
        share = f"{head} at {100 * taken.footprint:.0f} % of the parameters"
        return f"{share}{_than(taken, full)}"
    small = verdict.best_compressed
    if small is None:
        return f"{head}, the full network: no compressed network was trained"
    below = 100 * (verdict.best.accuracy_mean - small.accuracy_mean)
    reason = (
        f"is {below:.1f} points below the best, more than the tolerance of {verdict.tolerance:g}"
        if below > verdict.tolerance
        else f"is {_speed(small, taken)} {taken.label}"
    )
    return (
        f"{head}, the full network: the best compressed network, {small.label} "
        f"({percent(small.accuracy_mean)} at {100 * small.footprint:.0f} % of the parameters), "
        f"{reason}"
    )


def verdict_notes(verdict: Verdict) -> list[str]:
    """Lines about the verdict: what the test images can show, and what was refused."""
    taken, best = verdict.recommended, verdict.best
    lines = []
    if verdict.p_value is not None and taken.accuracy_mean != best.accuracy_mean:
        apart = 100 * (best.accuracy_mean - taken.accuracy_mean)
        told = "a tie" if verdict.p_value >= SIGNIFICANT else "a real difference"
        lines.append(
            f"{best.label} is the most accurate ({percent(best.accuracy_mean)}); the "
            f"{apart:.1f} points between them are {told} on {taken.images} test images "
            f"(p = {verdict.p_value:.2g}, paired test of the images)"
        )
    lines += [f"{label} is not recommended: it {why}" for label, why in verdict.refused.items()]
    return lines


def next_steps(adaptation: Adaptation) -> list[str]:
    """Lines with the location of the weights and the next commands."""
    taken = adaptation.verdict.recommended
    uri = adaptation.tracking_uri
    option = "" if uri == store_uri(None) else f" --tracking-uri {uri}"
    where = taken.weights or "not kept; run with --fresh --keep-weights best to keep them"
    deploy = []
    if taken.weights and taken.stage:
        deploy = [f"predict   workbench predict {adaptation.run_id}{option} photo.jpg"]
    elif taken.weights:
        deploy = [f"export    workbench export {adaptation.run_id}{option}"]
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
        markdown_table(COLUMNS, table_rows(adaptation.networks)),
        "",
        interval_note(adaptation.protocols),
        *(f"\n{line}" for line in map(markdown_text, runtime_notes(adaptation))),
        *(f"\n{line}." for line in map(markdown_text, verdict_notes(adaptation.verdict))),
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


def runtime_notes(adaptation: Adaptation) -> list[str]:
    """Lines about the runtimes and files of the stages; empty without stages."""
    if not adaptation.stages:
        return []
    lines = []
    timed = [each for each in adaptation.networks if each.timings]
    if timed:
        threads = adaptation.settings["threads"]
        lines.append(
            f"Latency: onnxruntime on the CPU, {threads} thread{'s' if threads > 1 else ''}, "
            "median of passes in turns; float32 networks and int8 files in the same process."
        )
    counts = {result.protocol: len(result.hits) for result in adaptation.protocols}
    for result in adaptation.stages:
        seeds = counts[result.protocol]
        if len(result.hits) < seeds:
            lines.append(
                f"{result.label}: {len(result.hits)} of {seeds} seeds; the weights of the others "
                "were not kept."
            )
    floats: dict[tuple[str, ...], list[str]] = {}
    for result in adaptation.stages:
        if result.left_float:
            floats.setdefault(result.left_float, []).append(result.label)
    for operators, labels in floats.items():
        lines.append(f"In float32 stay {', '.join(operators)} of {', '.join(labels)}.")
    return lines


def _than(taken: ProtocolResult, full: ProtocolResult | None) -> str:
    if full is None:
        return ""
    return f", {_speed(taken, full)} {full.label} ({percent(full.accuracy_mean)})"


def _file_size(taken: ProtocolResult, full: ProtocolResult | None) -> str:
    if taken.file_bytes is None:
        return ""
    size = f" in a file of {byte_count(taken.file_bytes)}"
    if full is None or full.file_bytes is None:
        return size
    return f"{size} ({100 * taken.file_bytes / full.file_bytes:.0f} % of {full.label})"


def _speed(taken: ProtocolResult, full: ProtocolResult) -> str:
    if taken.timing and full.timing:
        one, more = (b.median / t.median for t, b in zip(taken.timing, full.timing, strict=True))
        return _speed_words(one, f" ({more:.1f}x in batches of 64)")
    if taken.latency_ms is None or full.latency_ms is None:
        return f"{full.flops / taken.flops:.1f}x fewer FLOPs than"
    one = full.latency_ms / taken.latency_ms
    many = ""
    if taken.latency_64_ms is not None and full.latency_64_ms is not None:
        many = f" ({full.latency_64_ms / taken.latency_64_ms:.1f}x in batches of 64)"
    return _speed_words(one, many)


def _speed_words(one: float, many: str) -> str:
    if one >= SAME_SPEED:
        return f"{one:.1f}x faster{many} than"
    return f"about as fast{many} as" if one * SAME_SPEED >= 1 else f"{1 / one:.1f}x slower than"
