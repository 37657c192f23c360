"""The report of several adaptations on one page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.compression.recipes.recipes import Recipe
from workbench.reporting.report.adaptation_page import AdaptationReport
from workbench.reporting.report.charts import kept_shares
from workbench.reporting.report.network_sections import COLUMNS, network_row, trade_section
from workbench.reporting.report.page import Cell, Chart, Facts, Page, Section, Table, View


def comparison_page(reports: Sequence[tuple[str, AdaptationReport]]) -> Page:
    """The page of several adaptations.

    Args:
        reports: each with a name that no other has.
    """
    names = ", ".join(name for name, _ in reports)
    taken = [
        f"{name}: {report.verdict}{'' if report.verdict.endswith('.') else '.'}"
        for name, report in reports
    ]
    recipes = [(name, report.recipe) for name, report in reports if report.recipe]
    sections = [
        _table(reports),
        trade_section(
            {name: report.networks for name, report in reports},
            {name: report.recommended for name, report in reports},
        ),
        *([_filters(recipes)] if recipes else []),
        Section(
            "origin",
            "Where they were made",
            [],
            [Facts([("report", name), *report.facts], report.code) for name, report in reports],
        ),
    ]
    missing = [f"{name}: {line}" for name, report in reports for line in report.missing]
    return Page(
        title=f"Comparison of {len(reports)} runs",
        lead=f"All networks of {names}.",
        notes=taken,
        sections=sections,
        missing=missing,
    )


def _table(reports: Sequence[tuple[str, AdaptationReport]]) -> Section:
    rows = [
        [Cell(name), *network_row(each)] for name, report in reports for each in report.networks
    ]
    lines = list(dict.fromkeys(report.accuracy_line for _, report in reports))
    table = Table("All networks. Select a heading to sort.", ("run", *COLUMNS), rows)
    return Section("networks", "Networks", lines, [table])


def _filters(recipes: Sequence[tuple[str, Recipe]]) -> Section:
    rows: list[dict[str, Any]] = [
        {
            "series": name,
            "place": place,
            "layer": layer.layer,
            "share": round(100 * layer.kept / layer.filters, 2),
            "kept": layer.kept,
            "filters": layer.filters,
            "words": f"{name}, layer {layer.layer}: {layer.kept} of {layer.filters} filters kept",
        }
        for name, recipe in recipes
        if not recipe.factorises  # it keeps all filters
        for place, layer in enumerate(recipe.layers, 1)
    ]
    chart = Chart(
        "Share of the filters that each recipe keeps, by layer",
        kept_shares([name for name, _ in recipes]),
        [View("", rows)],
    )
    return Section("filters", "Filters kept", [], [chart])
