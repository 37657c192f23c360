"""Figure 1: which part of the method matters: the widths, the filters, or their weights?

The networks have equal footprints. Their widths are PFA-En's, uniform, or random (shown as the
mean, and the best as an empirical upper bound), each with the source's weights and from scratch.
A further curve has PFA-En's widths with random filters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.errors import counted
from workbench.experiments.pages import Page, summarise, table
from workbench.experiments.requested_cells import Part, Wish
from workbench.experiments.result_rows import Cell
from workbench.experiments.trade_off_chart import Point, trade_off_chart
from workbench.reporting.results import ProtocolResult
from workbench.reporting.statistics import student_interval
from workbench.reporting.tables import accuracy_text

FOOTPRINTS = (0.1, 0.25, 0.5)
DRAWS = 10
#: Options of ``adapt`` and the protocol, by the curve's name: recipe x initialisation.
_CURVES: dict[str, tuple[dict[str, Any], str]] = {
    "pfa, fine": ({"method": "pfa-en"}, "pfa-fine"),
    "pfa, scratch": ({"method": "pfa-en"}, "pfa-scratch"),
    "random filters, fine": ({"method": "pfa-en", "selection": "random"}, "pfa-fine"),
    "uniform, fine": ({"method": "uniform"}, "pfa-fine"),
    "uniform, scratch": ({"method": "uniform"}, "pfa-scratch"),
    "random widths, fine": ({"method": "random", "selection": "pfa"}, "pfa-fine"),
    "random widths, scratch": ({"method": "random", "selection": "pfa"}, "pfa-scratch"),
}
#: Names for ``--methods``, each for both initialisations of a recipe.
RECIPES = tuple(dict.fromkeys(name.split(",")[0].replace(" ", "-") for name in _CURVES))
_DRAWN = "random widths"
_REDRAWN = "random filters"


def parts(options: Mapping[str, Any], names: Sequence[str], seeds: range) -> list[Part]:
    """One part per curve and footprint; random widths are drawn ``draws`` times with seed 0."""
    options = dict(options)
    draws = options.pop("draws", None) or DRAWS
    footprints = options.pop("footprints", None) or FOOTPRINTS
    whole = {"target": options["source"], **options}
    found = [Part({**whole, "method": "pfa-kl"}, ("full-fine",), seeds)]
    for share in footprints:
        for curve, (own, protocol) in _CURVES.items():
            recipe = curve.split(",")[0]
            chosen = {**whole, **own, "footprint": float(share)}
            label = (curve, f"{float(share):g}")
            if recipe.replace(" ", "-") not in names:
                continue
            if recipe == _DRAWN:
                draw_of = {draw: range(1) for draw in range(draws)}
            elif recipe == _REDRAWN:
                draw_of = {seed: range(seed, seed + 1) for seed in seeds}
            else:
                found.append(Part(chosen, (protocol,), seeds, label))
                continue
            found += [
                Part({**chosen, "draw": draw}, (protocol,), own_seeds, label)
                for draw, own_seeds in draw_of.items()
            ]
    return found


def page(name: str, found: Sequence[tuple[Wish, Cell]], folder: Path) -> Page:
    """Accuracy of every curve at every footprint."""
    first = found[0][1]
    full = summarise([cell for _, cell in found if cell.protocol == "full-fine"])
    groups: dict[tuple[str, float], list[Cell]] = {}
    for wish, cell in found:
        if cell.protocol != "full-fine":
            curve, share = wish.part.label
            groups.setdefault((curve, float(share)), []).append(cell)
    chart = folder / f"{name}.png"
    trade_off_chart(
        {first.domain: _lines(groups)}, {first.domain: {"full-fine": full.accuracy_mean}}, chart
    )
    rows = [("full network, full-fine", "100 %", accuracy_text(full), str(len(full.hits)))]
    for (curve, _), cells in groups.items():
        footprint = sum(cell.footprint for cell in cells) / len(cells)
        if curve.startswith(_DRAWN):
            each = [cell.hits / cell.images for cell in cells]
            text = f"mean {100 * sum(each) / len(each):.1f} %, best {100 * max(each):.1f} %"
        else:
            text = accuracy_text(summarise(cells))
        rows.append((curve, f"{100 * footprint:.1f} %", text, str(len(cells))))
    columns = ("curve", "footprint", "accuracy (95 % interval)", "n")
    return Page(
        name=name,
        title=f"Figure 1: which part matters? {first.model} on {first.domain}",
        findings=_findings(groups, first.epochs),
        body=table(columns, rows),
        figures=(chart.name,),
    )


def _lines(groups: Mapping[tuple[str, float], Sequence[Cell]]) -> dict[str, list[Point]]:
    lines: dict[str, list[Point]] = {}
    for (curve, _), cells in groups.items():
        footprint = sum(cell.footprint for cell in cells) / len(cells)
        each = [cell.hits / cell.images for cell in cells]
        mean = sum(each) / len(each)
        if not curve.startswith(_DRAWN):
            lines.setdefault(curve, []).append(_point(summarise(cells)))
            continue
        low, high = student_interval(each) if len(each) > 1 else (mean, mean)
        lines.setdefault(f"{curve}, mean", []).append(Point(footprint, mean, low, high))
        best = max(each)
        lines.setdefault(f"{curve}, best", []).append(Point(footprint, best, best, best))
    return lines


def _point(result: ProtocolResult) -> Point:
    return Point(result.footprint, result.accuracy_mean, *result.accuracy_interval)


def _findings(groups: Mapping[tuple[str, float], Sequence[Cell]], epochs: int) -> list[str]:
    lines = [f"Trained for {counted(epochs, 'epoch')}; the paper trains for 50."]
    draws = [len(cells) for (curve, _), cells in groups.items() if curve.startswith(_DRAWN)]
    if max(draws, default=1) > 1:
        lines.append(
            f"The best of {max(draws)} random widths is chosen on the test images. It is an upper "
            "bound, not a method, and rises with the number of draws (300 in the paper)."
        )
    for share in sorted({share for _, share in groups}):
        for start in ("fine", "scratch"):
            means = {
                curve.split(",")[0]: sum(cell.hits / cell.images for cell in cells) / len(cells)
                for (curve, at), cells in groups.items()
                if at == share and curve.endswith(start)
            }
            order = sorted(means, key=lambda recipe: -means[recipe])
            ranked = ", ".join(f"{recipe} {100 * means[recipe]:.1f} %" for recipe in order)
            if ranked:
                lines.append(f"At {100 * share:g} %, {start}: {ranked}.")
    return lines
