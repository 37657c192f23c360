"""The page of a comparison of methods: chart, tables, and the most accurate methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from workbench.adaptation.settings import Settings
from workbench.adaptation.tasks.task import resolve
from workbench.compression.method_names import REFERENCE, SCALES
from workbench.errors import counted
from workbench.experiments.bench_comparisons import (
    budget_words,
    comparison_findings,
    comparison_tables,
    processor_of,
)
from workbench.experiments.grid import known_cells, of_shared_seeds
from workbench.experiments.pages import Page, file_name, one_seed, publish, summarise, table
from workbench.experiments.requested_cells import Found, Part
from workbench.experiments.result_rows import Cell
from workbench.experiments.trade_off_chart import Point, trade_off_chart
from workbench.reporting.results import ProtocolResult
from workbench.reporting.tables import accuracy_text, markdown_text

#: The protocol of all methods, and those of the full network.
TRAINED, FULL, SOURCE = "pfa-fine", "full-fine", "source"

#: End of the label of a budget that is a share of the FLOPs.
FLOPS = "of the FLOPs"


def write_page(
    shown: Sequence[Part],
    asked: range,
    impossible: Sequence[str],
    suited: bool,
    results: Path,
    command: Sequence[str],
) -> Path:
    """Write the page of all finished cells of these parts, and return its path.

    Args:
        impossible: a line about each method that was left out.
        suited: whether the source network of network-slimming was trained for it.
    """
    every = known_cells(shown, results)
    found = of_shared_seeds(every, lambda wish: wish.part.label, asked=asked)
    notes = [*impossible, *left_out(every, found), *([] if suited else slimming_note(found))]
    cells = [cell for _, cell in found]
    return publish(lambda: make_page(found, results, notes), cells, results, command)


def make_page(found: Found, folder: Path, notes: Sequence[str]) -> Page:
    """Make a page with chart, tables and verdicts.

    Args:
        found: cells whose parts are labelled with method and footprint.
        folder: folder of the chart.
        notes: sentences to append to the findings.
    """
    domains = list(dict.fromkeys(cell.domain for _, cell in found))
    name = _file_name(found, domains)
    chart = folder / f"{name}.png"
    networks = {domain: _networks(found, domain) for domain in domains}
    full = {
        domain: summarise(c for _, c in found if (c.domain, c.protocol) == (domain, FULL))
        for domain in domains
    }
    source = {
        domain: summarise(c for _, c in found if (c.domain, c.protocol) == (domain, SOURCE))
        for domain in {c.domain for _, c in found if c.protocol == SOURCE}
    }
    levels = {
        domain: {
            name: results[domain].accuracy_mean
            for name, results in ((FULL, full), (SOURCE, source))
            if domain in results
        }
        for domain in domains
    }
    by_flops = any(wish.part.label[1].endswith(FLOPS) for wish, _ in found)
    trade_off_chart(
        {domain: _points(results, by_flops) for domain, results in networks.items()},
        levels,
        chart,
        share="FLOPs" if by_flops else "parameters",
    )
    epochs = sorted({cell.epochs for _, cell in found})
    first = found[0][1]
    return Page(
        name=name,
        title=f"Methods at equal {'FLOPs' if by_flops else 'footprints'}: {', '.join(domains)}",
        findings=[
            f"{first.model} trained on {first.source}, fine-tuned for {counted(epochs, 'epoch')}.",
            *_verdicts(networks, full),
            *comparison_findings(found),
            *one_seed(full.values()),
            *_mixed_sources(found),
            *_mixed_processors(found),
            *notes,
        ],
        body=[*comparison_tables(found), *_tables(networks, full, source)],
        figures=(chart.name,),
    )


def _file_name(found: Found, domains: Sequence[str]) -> str:
    """Make the page's name from domains, shares, and unusual networks and sources."""
    wish, cell = found[0]
    shares = sorted({wish.part.label[1] for wish, _ in found} - {"", REFERENCE})
    shares = [share.replace(FLOPS, "flops") for share in shares]
    task = resolve(Settings.of(**wish.part.options))
    other = [] if cell.model == task.source.model else [cell.model]
    other += [] if task.domain.source == task.trained_on.name else [f"from-{cell.source}"]
    return file_name("bench", *domains, *shares, *other)


def _tables(
    networks: Mapping[str, Mapping[tuple[str, str], ProtocolResult]],
    full: Mapping[str, ProtocolResult],
    source: Mapping[str, ProtocolResult],
) -> list[str]:
    columns = (
        "method", "accuracy (95 % interval)", "requested share", "footprint", "FLOPs", "n",
    )  # fmt: skip
    body = []
    for domain, results in networks.items():
        ordered = sorted(results.items(), key=lambda item: (item[0][1], -item[1].accuracy_mean))
        rows = [_row(f"{FULL} (no compression)", "", full[domain])]
        if domain in source:
            rows.append(_row("source, not trained on the target", "", source[domain]))
        rows += [_row(method, footprint, result) for (method, footprint), result in ordered]
        body += [f"## {markdown_text(domain)}", "", *table(columns, rows)]
    return body


def _verdicts(
    networks: Mapping[str, Mapping[tuple[str, str], ProtocolResult]],
    full: Mapping[str, ProtocolResult],
) -> list[str]:
    """One sentence for each domain and footprint."""
    return [
        verdict(
            domain,
            budget_words(footprint),
            {method: result for (method, at), result in results.items() if at == footprint},
            full[domain],
        )
        for domain, results in networks.items()
        for footprint in dict.fromkeys(at for _, at in results)
    ]


def left_out(every: Found, found: Found) -> list[str]:
    """A sentence about methods whose finished cells are not shown."""
    shown = {(cell.domain, wish.part.label) for wish, cell in found}
    lacking = dict.fromkeys(
        f"{method}{'' if share in ('', REFERENCE) else f' at {share}'} on {cell.domain}"
        for wish, cell in every
        for method, share in [wish.part.label]
        if (cell.domain, wish.part.label) not in shown
    )
    return [f"Not shown, because a seed is missing: {', '.join(lacking)}."] if lacking else []


def _mixed_sources(found: Found) -> list[str]:
    """A warning if methods other than network slimming start from different source networks."""
    weights = {
        cell.weights for wish, cell in found if cell.weights and wish.part.label[0] != SCALES
    }
    if len(weights) < 2:
        return []
    return [f"The networks come from different source weights ({', '.join(sorted(weights))})."]


def _mixed_processors(found: Found) -> list[str]:
    """A warning if methods were trained on different kinds of processors."""
    methods: dict[tuple[str, str], dict[str, None]] = {}
    for wish, cell in found:
        if cell.protocol == TRAINED:
            methods.setdefault(processor_of(cell), {})[wish.part.label[0]] = None
    if len(methods) < 2:
        return []
    named = "; ".join(f"{' '.join(where)}: {', '.join(own)}" for where, own in methods.items())
    return [
        f"The methods were trained on different processors ({named}), which changes accuracies; "
        "compare only rows of the same one."
    ]


def slimming_note(found: Found) -> list[str]:
    """A warning if network slimming had a source network that was not trained for it."""
    if not any(wish.part.label[0] == SCALES for wish, _ in found):
        return []
    return [
        "network-slimming used a source network that has no record of a penalty on its scales; "
        "the method requires one ('workbench train --sparsity', --slimming-weights)."
    ]


def _networks(found: Found, domain: str) -> dict[tuple[str, str], ProtocolResult]:
    """The result over all seeds, by method and requested footprint."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for wish, cell in found:
        if (cell.domain, cell.protocol) == (domain, TRAINED):
            method, footprint = wish.part.label
            groups.setdefault((method, footprint), []).append(cell)
    return {name: summarise(cells) for name, cells in groups.items()}


def _points(
    results: Mapping[tuple[str, str], ProtocolResult], by_flops: bool
) -> dict[str, list[Point]]:
    lines: dict[str, list[Point]] = {}
    for (method, _), result in results.items():
        share = result.flops_ratio if by_flops else result.footprint
        point = Point(share, result.accuracy_mean, *result.accuracy_interval)
        lines.setdefault(method, []).append(point)
    return lines


def _row(label: str, asked: str, result: ProtocolResult) -> tuple[str, ...]:
    return (
        label, accuracy_text(result, 2), asked, f"{100 * result.footprint:.1f} %",
        f"{100 * result.flops_ratio:.1f} %", str(len(result.hits)),
    )  # fmt: skip


def verdict(
    domain: str, budget: str, results: Mapping[str, ProtocolResult], full: ProtocolResult
) -> str:
    """A sentence with the most accurate methods, and whether their lead is significant."""
    best = max(result.accuracy_mean for result in results.values())
    ahead = [method for method, result in results.items() if result.accuracy_mean == best]
    low = min(results[method].accuracy_interval[0] for method in ahead)
    behind = [method for method, r in results.items() if r.accuracy_interval[1] < low]
    sentence = (
        f"{domain} at {budget}: {' and '.join(ahead)} "
        f"{'has' if len(ahead) == 1 else 'have'} the highest accuracy ({100 * best:.1f} %, "
        f"{100 * (best - full.accuracy_mean):+.1f} points compared with full-fine)"
    )
    if len(results) == len(ahead):
        return f"{sentence}."
    if behind:
        return f"{sentence}; the 95 % interval is above that of {', '.join(behind)}."
    return (
        f"{sentence}; the 95 % intervals of all other methods overlap with it, so the order may be "
        "due to chance."
    )
