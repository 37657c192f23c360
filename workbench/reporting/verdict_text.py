"""Text about an adaptation: the verdict in one sentence, the next steps, the note of its run."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.models.external_networks import is_users_own
from workbench.reporting.attack_table import attack_table
from workbench.reporting.recipe_text import kept_sentence, method_text
from workbench.reporting.results import Adaptation, ProtocolResult, Verdict
from workbench.reporting.tables import (
    ADAPT_DECIMALS,
    COLUMNS,
    byte_count,
    markdown_table,
    markdown_text,
    percent,
    spread_text,
    table_rows,
)
from workbench.reporting.verdict_rules import SAME_SPEED, speed_words, tie_words
from workbench.store.tracking_uris import store_uri


def verdict_sentence(verdict: Verdict) -> str:
    """The recommended network, and its accuracy, size and speed compared with the full one."""
    taken, full = verdict.recommended, verdict.reference
    head = f"{taken.label}: {_accuracy(taken)}{spread_text(taken, ADAPT_DECIMALS)}"
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
        f"is {below:.{ADAPT_DECIMALS}f} points below the best, more than the tolerance of "
        f"{verdict.tolerance:g}"
        if below > verdict.tolerance
        else f"is {_speed(small, taken)} {taken.label}"
    )
    return (
        f"{head}, the full network: the best compressed network, {small.label} "
        f"({_accuracy(small)} at {100 * small.footprint:.0f} % of the parameters), "
        f"{reason}"
    )


def verdict_notes(verdict: Verdict) -> list[str]:
    """Lines about the verdict: what the test images can show, and what was rejected."""
    taken, best = verdict.recommended, verdict.best
    apart = 100 * (best.accuracy_mean - taken.accuracy_mean)
    lines = []
    if apart:
        found = f"{best.label} is the most accurate ({_accuracy(best)}); "
        if verdict.p_value is None:
            lines.append(
                f"{found}whether {apart:.{ADAPT_DECIMALS}f} points are a tie is not known, because "
                "a run has no list of the test images that it classifies correctly"
            )
        else:
            tie = tie_words(verdict.p_value, taken.images)
            lines.append(f"{found}the {apart:.{ADAPT_DECIMALS}f} points between them are {tie}")
    lines += [f"{label} is not recommended: it {why}" for label, why in verdict.refused.items()]
    return lines


def next_steps(adaptation: Adaptation) -> list[str]:
    """Lines with the location of the weights and the next commands."""
    taken = adaptation.verdict.recommended
    uri = adaptation.tracking_uri
    option = "" if uri == store_uri(None) else f" --tracking-uri {uri}"
    where = taken.weights or "not kept; run with --fresh --keep-weights best to keep them"
    model = str(adaptation.settings["model"])
    own = f" --model {model}" if is_users_own(model) else ""
    run = f"{adaptation.run_id}{own}{option}"
    deploy = []
    if taken.weights and taken.stage:
        deploy = [f"predict   workbench predict {run} photo.jpg"]
    if taken.weights:
        deploy.append(f"export    workbench export {run}")
    return [
        f"weights   {where}",
        *deploy,
        *([f"report    {adaptation.report}"] if adaptation.report else []),
        f"runs      workbench ui{option}",
        f"compare   workbench compare --target {adaptation.settings['target']}{option}",
    ]


def title(adaptation: Adaptation) -> str:
    """Domain, model and method in one line."""
    settings = adaptation.settings
    seeds = f"{settings['seeds']} seed{'s' if settings['seeds'] > 1 else ''}"
    plan = settings["plan"]
    return (
        f"{settings['target']} · {settings['model']} · {method_text(settings)} "
        f"({seeds}, {plan['epochs']} epoch{'s' if plan['epochs'] > 1 else ''}, "
        f"{plan['schedule']} schedule)"
    )


def note(
    adaptation: Adaptation,
    run_links: Sequence[tuple[str, str]],
    charts: Sequence[tuple[str, str]] = (),
) -> str:
    """The Markdown note of the run of an adaptation.

    The MLflow UI shows the first lines of a long note, so the verdict comes first.

    Args:
        adaptation: the adaptation.
        run_links: title and link of every run that was trained for another adaptation.
        charts: title and link of every image.
    """
    settings = adaptation.settings
    classes = ", ".join(settings["classes"])
    attacked = attack_table(adaptation.networks)
    lines = [
        f"**{markdown_text(verdict_sentence(adaptation.verdict))}**",
        "",
        markdown_text(f"Target {settings['target']}: {classes}."),
        "",
        markdown_table(COLUMNS, table_rows(adaptation.networks)),
        "",
        *((markdown_table(*attacked), "") if attacked[1] else ()),
        interval_note(adaptation.protocols, split_of(adaptation)),
        *(f"\n{line}" for line in map(markdown_text, runtime_notes(adaptation))),
        *(f"\n{line}." for line in map(markdown_text, verdict_notes(adaptation.verdict))),
        "",
        kept_sentence(adaptation.recipe),
        "",
        *(f"![{markdown_text(title)}]({link})" for title, link in charts),
    ]
    if run_links:
        lines += ["", "Trained for an earlier adaptation and reused here:", ""]
        lines += [f"- [{markdown_text(name)}]({link})" for name, link in run_links]
    return "\n".join(lines)


def split_of(adaptation: Adaptation) -> str:
    """What the networks were compared on: "test" or "validation" images."""
    return "validation" if "validation" in adaptation.settings else "test"


def interval_note(results: Sequence[ProtocolResult], split: str = "test") -> str:
    """Explain the spread and the interval in the table."""
    seeds = max(len(result.hits) for result in results)
    images = results[0].images
    if seeds > 1:
        return (
            f"Accuracy: mean ± standard deviation over {seeds} seeds on {images} {split} images; "
            "interval: 95 %, Student's t over the seeds (Wilson over the images if seeds agree)."
        )
    return (
        f"Accuracy: one seed on {images} {split} images; interval: 95 %, Wilson over the images "
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
    for result in adaptation.stages:
        if result.exit_shares:
            shares = ", ".join(percent(each, 0) for each in result.exit_shares)
            lines.append(
                f"{result.label}: {shares} of the images leave at its exits, from the first to the "
                "last; FLOPs and latency are expected values per image, in torch."
            )
    floats: dict[tuple[str, ...], list[str]] = {}
    for result in adaptation.stages:
        if result.left_float:
            floats.setdefault(result.left_float, []).append(result.label)
    for operators, labels in floats.items():
        lines.append(f"Computed in float32: {', '.join(operators)} in {', '.join(labels)}.")
    return lines


def _accuracy(result: ProtocolResult) -> str:
    return percent(result.accuracy_mean, ADAPT_DECIMALS)


def _than(taken: ProtocolResult, full: ProtocolResult | None) -> str:
    if full is None:
        return ""
    return f", {_speed(taken, full)} {full.label} ({_accuracy(full)})"


def _file_size(taken: ProtocolResult, full: ProtocolResult | None) -> str:
    if taken.file_bytes is None:
        return ""
    size = f" in a file of {byte_count(taken.file_bytes)}"
    if full is None or full.file_bytes is None:
        return size
    return f"{size} ({100 * taken.file_bytes / full.file_bytes:.0f} % of {full.label})"


def _speed(taken: ProtocolResult, full: ProtocolResult) -> str:
    """Words such as "2.0x faster (1.5x in batches of 64) than"."""
    ones = _both(taken, full, 0)
    if ones is None:
        return f"{full.flops / taken.flops:.1f}x fewer FLOPs than"
    words, many = speed_words(ones), ""
    sixtyfours = _both(taken, full, 1)
    if sixtyfours is not None:
        slower = sixtyfours * SAME_SPEED < 1
        more = speed_words(sixtyfours) if slower else f"{sixtyfours:.1f}x"
        many = f" ({more} in batches of 64)"
    return f"{words}{many} {'as' if words.startswith('about') else 'than'}"


def _both(taken: ProtocolResult, full: ProtocolResult, place: int) -> float | None:
    """Ratio of the times of both networks at batch 1 (place 0) or 64 (1); None if unknown."""
    if taken.timing and full.timing:
        return full.timing[place].median / taken.timing[place].median
    one, other = ((each.latency_ms, each.latency_64_ms)[place] for each in (taken, full))
    return None if one is None or other is None else other / one
