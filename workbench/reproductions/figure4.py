"""Figure 4: a network of 100 classes specialised for six domains, by four protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench import published
from workbench.cells import Cell
from workbench.experiments import Part, Wish
from workbench.figures import comparison_chart
from workbench.pages import Page, Results, by_domain, gap, signed, table
from workbench.planning import resolve
from workbench.protocols import FOUR
from workbench.report import accuracy_text
from workbench.results import ProtocolResult
from workbench.settings import Settings
from workbench.subject import source_structure

DOMAINS = ("S1", "S2", "S3", "S4", "R1", "R2")


def parts(options: Mapping[str, Any], names: Sequence[str], seeds: range) -> list[Part]:
    """A part a domain: all four protocols."""
    return [Part({**options, "target": name}, FOUR, seeds) for name in names]


def page(name: str, found: Sequence[tuple[Wish, Cell]], folder: Path) -> Page:
    """Accuracies and footprints beside the paper's, and the filters of every layer."""
    cells = [cell for _, cell in found]
    results = by_domain(cells)
    widths = _widths(cells)
    chart = folder / f"{name}.png"
    theirs = published.figure4()
    full = _full_widths(found[0][0])
    comparison_chart(
        {domain: list(rows.values()) for domain, rows in results.items()},
        {domain: list(zip(full, kept, strict=True)) for domain, kept in widths.items()},
        chart,
        theirs,
    )
    return Page(
        name=name,
        title="Figure 4: six domains, four protocols",
        findings=findings(cells, results, theirs),
        body=[*_accuracy_table(results, theirs), *_footprint_table(results, theirs),
              *_filters_table(widths)],
        figures=(chart.name,),
    )  # fmt: skip


def findings(
    cells: Sequence[Cell], results: Results, theirs: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """What fits the paper and what does not, in sentences."""
    epochs = sorted({cell.epochs for cell in cells})
    lines = [
        f"{len(results.keys() & theirs.keys())} of the paper's {len(theirs)} domains, "
        f"{' or '.join(map(str, epochs))} epochs where the paper trains 160."
    ]
    pairs = [
        (domain, rows["pfa-fine"], rows["full-fine"])
        for domain, rows in results.items()
        if {"pfa-fine", "full-fine"} <= rows.keys()
    ]
    if pairs:
        near = [domain for domain, small, full in pairs if gap(small, full) >= -1]
        lines.append(
            f"pfa-fine is at most one point below full-fine on {len(near)} of {len(pairs)} "
            f"({', '.join(near) or 'none'}; in the paper on 4 of 6)."
        )
    scratch = [
        (domain, gap(rows["pfa-fine"], rows["full-scratch"]))
        for domain, rows in results.items()
        if {"pfa-fine", "full-scratch"} <= rows.keys()
    ]
    if scratch:
        above = [domain for domain, points in scratch if points > 0]
        lines.append(
            f"It is above full-scratch on {len(above)} of {len(scratch)} (in the paper on 6 of 6)."
        )
    beside = [
        (f"{domain} {protocol}", result, theirs[domain][protocol])
        for domain, rows in results.items()
        for protocol, result in rows.items()
        if protocol in theirs.get(domain, {})
    ]
    outside = [
        f"{label} {signed(difference)}"
        for label, result, paper in beside
        if (difference := _outside(result, paper)) is not None
    ]
    if beside:
        lines.append(
            f"The paper's accuracy lies outside our 95 % interval for {len(outside)} of "
            f"{len(beside)} cells"
            + (f": {', '.join(outside)} (points, ours minus the paper's)." if outside else ".")
        )
    return lines


def _outside(result: ProtocolResult, theirs: float) -> float | None:
    low, high = (100 * bound for bound in result.accuracy_interval)
    return None if low <= theirs <= high else 100 * result.accuracy_mean - theirs


def _accuracy_table(results: Results, theirs: Mapping[str, Mapping[str, float]]) -> list[str]:
    rows = [
        (
            domain, protocol, accuracy_text(result), str(len(result.hits)),
            *_beside(100 * result.accuracy_mean, theirs.get(domain, {}).get(protocol)),
        )
        for domain, protocols in results.items()
        for protocol, result in protocols.items()
    ]  # fmt: skip
    columns = ("domain", "protocol", "accuracy (95 % interval)", "n", "paper", "difference")
    return ["## Accuracy", "", *table(columns, rows)]


def _footprint_table(results: Results, theirs: Mapping[str, Mapping[str, float]]) -> list[str]:
    rows = []
    for domain, protocols in results.items():
        small = next((r for r in protocols.values() if r.compressed), None)
        if small:
            ours, paper = 100 * small.footprint, theirs.get(domain, {}).get("footprint")
            flops = f"{100 * small.flops_ratio:.0f} %"
            rows.append((domain, f"{ours:.1f} %", *_beside(ours, paper), flops))
    columns = ("domain", "footprint", "paper", "difference", "FLOPs")
    return ["## Footprint", "", *table(columns, rows)]


def _beside(ours: float, theirs: float | None) -> tuple[str, str]:
    """The paper's number and the difference to it; nothing where the paper has none."""
    return ("", "") if theirs is None else (f"{theirs:g} %", signed(ours - theirs))


def _filters_table(widths: Mapping[str, Sequence[int]]) -> list[str]:
    rows = [(domain, " ".join(map(str, kept))) for domain, kept in widths.items()]
    if "S2" in widths:
        rows.append(("S2, paper (±5)", " ".join(map(str, published.FIGURE_4B_S2))))
    return ["## Filters kept in each layer", "", *table(("domain", "filters"), rows)]


def _widths(cells: Sequence[Cell]) -> dict[str, list[int]]:
    return {cell.domain: [int(n) for n in cell.filters.split()] for cell in cells if cell.filters}


def _full_widths(wish: Wish) -> tuple[int, ...]:
    return source_structure(resolve(Settings.of(**wish.part.options))).widths
