"""Figure 4: a network of 100 classes specialised for six domains, by four protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.adaptation.settings import Settings
from workbench.adaptation.tasks.source_network import source_structure
from workbench.adaptation.tasks.task import resolve
from workbench.errors import counted
from workbench.experiments import published
from workbench.experiments.pages import Page, Results, by_domain, one_seed, signed, table
from workbench.experiments.requested_cells import Part, Wish
from workbench.experiments.result_rows import Cell
from workbench.reporting.charts import Published, comparison_chart
from workbench.reporting.results import ProtocolResult
from workbench.reporting.tables import accuracy_text
from workbench.training.protocols import FOUR, UNTRAINED

#: Percent, by domain and protocol.
Means = Mapping[str, Mapping[str, float]]
Holds = Callable[[float], bool]
#: The paper's protocols, and the untrained source network.
SHOWN = (*FOUR, UNTRAINED)
DOMAINS = ("S1", "S2", "S3", "S4", "R1", "R2")
#: The network of the paper's figure and its data set.
PAPERS = {"source": "cifar100", "model": "vgg16"}


def parts(options: Mapping[str, Any], names: Sequence[str], seeds: range) -> list[Part]:
    """One part per domain, with all four protocols and the untrained source network."""
    return [Part({**options, "target": name}, SHOWN, seeds) for name in names]


def page(name: str, found: Sequence[tuple[Wish, Cell]], folder: Path) -> Page:
    """Make a page with accuracies and footprints beside the paper's, and the kept filters."""
    cells = [cell for _, cell in found]
    results = by_domain(cells)
    widths = _widths(cells)
    chart = folder / f"{name}.png"
    theirs = published.figure4() if _is_papers(cells[0]) else {}
    full = _full_widths(found[0][0])
    comparison_chart(
        {domain: list(rows.values()) for domain, rows in results.items()},
        {domain: list(zip(full, kept, strict=True)) for domain, kept in widths.items()},
        chart,
        Published(theirs, {"S2": published.FIGURE_4B_S2} if theirs and "S2" in widths else {}),
    )
    return Page(
        name=name,
        title="Figure 4: six domains, four protocols",
        findings=[
            *findings(cells, results, theirs),
            *one_seed(row for rows in results.values() for row in rows.values()),
        ],
        body=[*_accuracy_table(results, theirs), *_footprint_table(results, theirs),
              *_filters_table(widths, theirs)],
        figures=(chart.name,),
    )  # fmt: skip


def _is_papers(cell: Cell) -> bool:
    return {"source": cell.source, "model": cell.model} == PAPERS


def findings(cells: Sequence[Cell], results: Results, theirs: Means) -> list[str]:
    """Sentences that compare the results with the paper's.

    Args:
        cells: the cells of the page.
        results: the same by domain and protocol.
        theirs: the paper's numbers; empty for another network or data set.
    """
    epochs = counted(sorted({cell.epochs for cell in cells if cell.epochs}) or [0], "epoch")
    lines = [f"{counted(len(results), 'domain')}, {epochs}; the paper trains for 160."]
    means = {
        domain: {name: 100 * result.accuracy_mean for name, result in rows.items()}
        for domain, rows in results.items()
    }
    near = _tally(means, theirs, "full-fine", lambda points: points >= -1)
    above = _tally(means, theirs, "full-scratch", lambda points: points > 0)
    lines += [
        f"pfa-fine is at most one point below full-fine on {near}.",
        f"It is above full-scratch on {above}.",
    ]
    if results.keys() & theirs.keys():
        lines += [_accuracies_beside(results, theirs), _footprints_beside(results, theirs)]
    kept = _widths(cells).get("S2")
    if theirs and kept:
        pairs = zip(kept, published.FIGURE_4B_S2, strict=True)
        far = sum(abs(ours - paper) > published.FIGURE_4B_ERROR for ours, paper in pairs)
        lines.append(
            f"{far} of S2's {len(kept)} layers keep another number of filters than in figure 4b."
        )
    return lines


def _tally(ours: Means, theirs: Means, reference: str, holds: Holds) -> str:
    """On which domains ``holds`` is true for pfa-fine minus a reference, in points."""
    found = _where(ours, reference, holds)
    text = f"{len(found)} of {len(ours)} ({', '.join(found) or 'none'})"
    if not theirs:
        return text
    paper = _where(theirs, reference, holds)
    return f"{text}, in the paper on {len(paper)} of {len(theirs)} ({', '.join(paper) or 'none'})"


def _where(means: Means, reference: str, holds: Holds) -> list[str]:
    # Rounded so that 94 is exactly one point below 95, despite floating-point errors.
    return [d for d, row in means.items() if holds(round(row["pfa-fine"] - row[reference], 6))]


def _accuracies_beside(results: Results, theirs: Means) -> str:
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
    return (
        f"The paper's accuracy is outside our 95 % interval for {len(outside)} of "
        f"{len(beside)} cells"
        + (f": {', '.join(outside)} (points, ours minus the paper's)." if outside else ".")
    )


def _footprints_beside(results: Results, theirs: Means) -> str:
    apart = [
        100 * rows["pfa-fine"].footprint - theirs[domain]["footprint"]
        for domain, rows in results.items()
        if domain in theirs
    ]
    least, most = signed(min(apart)), signed(max(apart))
    return f"Footprints differ from the paper's by {least} to {most} points."


def _outside(result: ProtocolResult, theirs: float) -> float | None:
    low, high = (100 * bound for bound in result.accuracy_interval)
    return None if low <= theirs <= high else 100 * result.accuracy_mean - theirs


def _accuracy_table(results: Results, theirs: Means) -> list[str]:
    rows = [
        (
            domain, protocol, accuracy_text(result), str(len(result.hits)),
            *_beside(100 * result.accuracy_mean, theirs.get(domain, {}).get(protocol)),
        )
        for domain, protocols in results.items()
        for protocol, result in protocols.items()
    ]  # fmt: skip
    columns = ("domain", "protocol", "accuracy (95 % interval)", "n", "paper", "difference")
    remark = [f"The paper's accuracies are {published.FIGURE_4_READING}.", ""] if theirs else []
    return ["## Accuracy", "", *table(columns, rows), *remark]


def _footprint_table(results: Results, theirs: Means) -> list[str]:
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
    """The paper's number and the difference from it; empty if the paper has none."""
    return ("", "") if theirs is None else (f"{theirs:g} %", signed(ours - theirs))


def _filters_table(widths: Mapping[str, Sequence[int]], theirs: Means) -> list[str]:
    rows = [(domain, " ".join(map(str, kept))) for domain, kept in widths.items()]
    if theirs and "S2" in widths:
        label = f"S2, paper (±{published.FIGURE_4B_ERROR})"
        rows.append((label, " ".join(map(str, published.FIGURE_4B_S2))))
    return ["## Filters kept in each layer", "", *table(("domain", "filters"), rows)]


def _widths(cells: Sequence[Cell]) -> dict[str, list[int]]:
    return {cell.domain: [int(n) for n in cell.filters.split()] for cell in cells if cell.filters}


def _full_widths(wish: Wish) -> tuple[int, ...]:
    return source_structure(resolve(Settings.of(**wish.part.options))).widths
