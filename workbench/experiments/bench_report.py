"""The report over the rows of a bench: accuracy by method and domain, and paired differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from workbench.compression.method_names import REFERENCE
from workbench.errors import DataError, counted
from workbench.experiments.bench_comparisons import (
    TRAINED,
    Comparison,
    budget_words,
    compare_cells,
)
from workbench.experiments.pages import summarise
from workbench.experiments.result_rows import CELLS_FILE, Cell, read_cells
from workbench.reporting.report.charts import accuracy_by_group
from workbench.reporting.report.page import Cell as TableCell
from workbench.reporting.report.page import Chart, Facts, Page, Section, Table, View
from workbench.reporting.results import ProtocolResult
from workbench.reporting.tables import percent
from workbench.training.protocols import PROTOCOLS

_FLAGS = ("compensate",)  # parts of a method's label without a value
_USUAL = {"selection": "pfa", "cost": "flops"}  # parts that every label may leave out
_BUDGETS = ("flops", "footprint")
_NO_BUDGET = "no budget"
_COLUMNS = (
    "domain", "network", "budget", "accuracy", "95 % interval", "seeds", "parameters", "FLOPs",
)  # fmt: skip
_COMPARED = (
    "method", "budget", "difference, points", "95 % interval", "pairs", "p", "p, corrected",
    "would be seen",
)  # fmt: skip


def bench_page(results: Path) -> Page:
    """The page over all rows of a results folder.

    Raises:
        DataError: when there are no rows, or they are damaged.
    """
    path = results / "data" / CELLS_FILE
    cells = list(read_cells(path).values())
    if not cells:
        raise DataError(
            f"{path}: no rows of a bench; name the folder by --results, or run 'workbench bench'"
        )
    groups = _groups(cells)
    sections: list[Section] = []
    for place, (name, own) in enumerate(groups.items()):
        sections += _sections(f"group-{place}", name, own)
    domains = sorted({cell.domain for cell in cells})
    return Page(
        title="Comparison of compression methods",
        lead=f"{len(cells)} trainings on {len(domains)} domains: {', '.join(domains)}.",
        notes=[
            "Intervals are 95 %: Student's t over the seeds, or Wilson over the test images if "
            "there is one seed or all seeds agree."
        ],
        sections=[*sections, _origin(cells)],
    )


def _groups(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """The cells that were trained in one way, each with the untrained networks of its domains."""
    cells = list(cells)
    ways = dict.fromkeys(
        (cell.model, cell.source, cell.epochs) for cell in cells if cell.protocol == TRAINED
    )
    groups: dict[str, list[Cell]] = {}
    for model, source, epochs in ways:
        same = [cell for cell in cells if (cell.model, cell.source) == (model, source)]
        own = [cell for cell in same if cell.epochs == epochs]
        domains = {cell.domain for cell in own}
        own += [cell for cell in same if not cell.epochs and cell.domain in domains]
        groups[f"{model} of {source}, {counted(epochs, 'epoch')}"] = own
    return groups


def method_and_budget(label: str) -> tuple[str, str]:
    """Split a method's label, as in ``Cell.method``, into its name and its budget.

    Draws of the random recipe and the usual selection are not part of the name.
    """
    first, *words = label.split()
    name, budget = [first], ""
    while words:
        word = words.pop(0)
        if word in _FLAGS or not words:
            name.append(word)
            continue
        if _is_number(word):  # the energy of PFA-En
            name.append(word)
            continue
        value = words.pop(0)
        if word in _BUDGETS and not budget and (_is_number(value) or value == REFERENCE):
            budget = f"{value} of the FLOPs" if word == "flops" else value
        elif word != "draw" and _USUAL.get(word) != value:
            name += [word, value]
    return " ".join(name), budget or (REFERENCE if first == REFERENCE else "")


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def _series(cell: Cell) -> tuple[str, str]:
    """Name and budget of a cell's network; no budget for full networks."""
    if cell.method == "none":
        return cell.protocol, ""
    method, budget = method_and_budget(cell.method)
    name = method if cell.protocol == TRAINED else f"{cell.protocol}, {method}"
    return name, budget


def _sections(anchor: str, name: str, cells: Sequence[Cell]) -> list[Section]:
    found: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        found.setdefault((cell.domain, *_series(cell)), []).append(cell)
    results = {key: summarise(own) for key, own in sorted(found.items())}
    sections = [
        Section(anchor, name, [], [*_charts(name, results), _table(name, results)]),
    ]
    trained = [(*_series(cell), cell) for cell in cells if cell.protocol == TRAINED]
    compared = compare_cells(trained)
    if compared:
        sections.append(_comparisons(f"{anchor}-pairs", name, compared))
    return sections


def _charts(name: str, results: Mapping[tuple[str, str, str], ProtocolResult]) -> list[Chart]:
    """One chart for each budget, with the full networks in each."""
    trained = [key for key, result in results.items() if PROTOCOLS[result.protocol].compressed]
    charts = []
    for budget in dict.fromkeys(budget for *_, budget in trained):
        rows = [
            _bar(domain, label, result)
            for (domain, label, own), result in results.items()
            if own == budget or not PROTOCOLS[result.protocol].compressed
        ]
        series = list(dict.fromkeys(str(row["series"]) for row in rows))
        groups = len({row["group"] for row in rows})
        text = f"{name}, {_words(budget)}: accuracy by domain and network, with 95 % intervals"
        charts.append(Chart(text, accuracy_by_group(series, groups), [View("", rows)]))
    return charts


def _words(budget: str) -> str:
    return budget_words(budget) if budget else _NO_BUDGET


def _bar(domain: str, label: str, result: ProtocolResult) -> dict[str, object]:
    low, high = result.accuracy_interval
    mean = result.accuracy_mean
    return {
        "group": domain,
        "series": label,
        "accuracy": round(100 * mean, 3),
        "low": round(100 * low, 3),
        "high": round(100 * high, 3),
        "seeds": len(result.hits),
        "words": f"{domain}, {label}: {percent(mean)} ({100 * low:.1f} to {100 * high:.1f})",
    }


def _table(name: str, results: Mapping[tuple[str, str, str], ProtocolResult]) -> Table:
    rows = []
    for (domain, label, budget), each in results.items():
        low, high = each.accuracy_interval
        spread = "" if each.accuracy_std is None else f" ± {100 * each.accuracy_std:.1f}"
        rows.append([
            TableCell(domain),
            TableCell(label),
            TableCell(_words(budget) if budget else "-"),
            TableCell(f"{percent(each.accuracy_mean, 2)}{spread}", each.accuracy_mean),
            TableCell(f"{100 * low:.1f} to {100 * high:.1f}", low),
            TableCell(str(len(each.hits)), len(each.hits)),
            TableCell(percent(each.footprint), each.footprint),
            TableCell(percent(each.flops_ratio), each.flops_ratio),
        ])  # fmt: skip
    return Table(f"All results of {name}. Select a heading to sort.", _COLUMNS, rows)


def _comparisons(anchor: str, name: str, compared: Sequence[Comparison]) -> Section:
    rows = [
        [
            TableCell(each.method),
            TableCell(_words(each.budget)),
            TableCell(f"{each.test.mean:+.2f}", each.test.mean),
            TableCell(f"{each.test.low:+.2f} to {each.test.high:+.2f}", each.test.low),
            TableCell(str(each.test.pairs), each.test.pairs),
            TableCell(f"{each.test.p_value:.2g}", each.test.p_value),
            TableCell(f"{each.corrected:.2g}", each.corrected),
            TableCell(f"{each.test.detectable:.2f}", each.test.detectable),
        ]
        for each in compared
    ]
    lines = [
        "Differences to uniform widths with PFA's filters. A pair is a domain with a seed; paired "
        "t-test, Holm's correction over the methods of a budget. The last column is the smallest "
        "difference that such a test finds with a chance of 80 %. The seeds of a domain share its "
        "test images: the tests hold for these domains."
    ]
    table = Table(f"Paired differences of {name}. Select a heading to sort.", _COMPARED, rows)
    return Section(anchor, f"Paired differences: {name}", lines, [table])


def _origin(cells: Sequence[Cell]) -> Section:
    def listed(name: str) -> str:
        values = {str(getattr(cell, name)) for cell in cells} - {""}
        return ", ".join(sorted(values)) or "not recorded"

    names = {
        "machine": "machines", "torch": "torch", "python": "Python", "version": "workbench",
        "commit": "commits", "date": "dates (UTC)", "seed": "seeds", "weights": "source weights",
    }  # fmt: skip
    hours = sum(cell.train_seconds for cell in cells) / 3600
    facts = [("command", "workbench report --bench"), ("time", f"{hours:.1f} hours of training")]
    facts += [(title, listed(name)) for name, title in names.items()]
    return Section("origin", "Where it was made", [], [Facts(facts, frozenset({"command"}))])
