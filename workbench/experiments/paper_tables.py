"""Tables 1 to 8: networks compressed for the complete data set of their training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.errors import DataError, SettingsError, counted
from workbench.experiments import published
from workbench.experiments.pages import Page, one_seed, summarise, table
from workbench.experiments.published import TableRow
from workbench.experiments.requested_cells import Part, Wish
from workbench.experiments.result_rows import CELLS_FILE, Cell
from workbench.reporting.results import ProtocolResult

#: Network and data set of each table; for ImageNet the user names a folder: ``--source FOLDER``.
DEFAULTS: dict[int, dict[str, Any]] = {
    1: {"source": "cifar10", "model": "vgg16"},
    2: {"source": "cifar100", "model": "vgg16"},
    3: {"source": "cifar10", "model": "resnet56"},
    4: {"source": "cifar100", "model": "resnet56"},
    5: {"model": "vgg16-convolutional"},
    6: {"model": "vgg16-convolutional"},
    7: {"model": "resnet34"},
    8: {"model": "resnet34"},
}
_TOP5 = (6, 8)
#: Methods of other papers, as the tables print them, possibly with a variant: "FGA/A".
_RIVALS = {"fp": "fp", "ns": "network-slimming", "vib": "vib", "fga": "fga"}


def methods(number: int) -> tuple[str, ...]:
    """The recipes of PFA in a table, in lower case."""
    return tuple(name for name in _names(number) if name.startswith("pfa-"))


def rivals(number: int) -> tuple[str, ...]:
    """The lines of other papers in a table, in lower case.

    The paper quotes them. Here they are trained only on request, at the published share of the
    parameters.
    """
    return tuple(name for name in _names(number) if name.split("/")[0] in _RIVALS)


def _names(number: int) -> list[str]:
    return [row.method.lower() for row in published.table(number)]


def parts(
    number: int, options: Mapping[str, Any], names: Sequence[str], seeds: range
) -> list[Part]:
    """A part for the source network, and one per line, compressed and fine-tuned.

    Raises:
        SettingsError: when a table of ImageNet has no folder.
    """
    if "source" not in options:
        raise SettingsError(
            "--source: name a folder with ImageNet's train/ and val/ and a subfolder for each class"
        )
    whole = {**options, "target": options["source"]}
    return [
        Part({**whole, "method": "pfa-kl"}, ("source",), range(1)),
        *(
            Part({**whole, **_options(number, name)}, ("pfa-fine",), seeds, (name,))
            for name in names
        ),
    ]


def page(number: int, name: str, found: Sequence[tuple[Wish, Cell]], folder: Path) -> Page:
    """Make a page with accuracy change, parameters and FLOPs of every recipe and the paper's."""
    cells = [cell for _, cell in found]
    source = next(cell for cell in cells if cell.protocol == "source")
    full = _hits(source, number) / source.images
    recipes: dict[str, list[Cell]] = {}
    for wish, cell in found:
        if cell.protocol != "source":
            recipes.setdefault(wish.part.label[0], []).append(cell)
    theirs = published.table(number)
    rows = [_row(row, recipes.get(row.method.lower(), []), full, number) for row in theirs]
    columns = (
        "method", "accuracy change, points (95 % interval)", "paper", "difference", "parameters",
        "paper", "FLOPs", "paper", "n",
    )  # fmt: skip
    first = cells[0]
    which = "top-5" if number in _TOP5 else "top-1"
    return Page(
        name=name,
        title=f"Table {number}: {first.model} on {first.source}",
        findings=[
            *_findings(recipes, theirs, full, which, number),
            *one_seed(_result(cells, number) for cells in recipes.values()),
        ],
        body=[
            f"Before compression: {100 * full:.2f} % {which} "
            f"(paper: {theirs[0].full_accuracy:g} %). Intervals are those of the compressed "
            "network's accuracy minus that of the full network, which is taken as exact.",
            "",
            *table(columns, rows),
        ],
    )


def _options(number: int, name: str) -> dict[str, Any]:
    if name in rivals(number):
        row = next(row for row in published.table(number) if row.method.lower() == name)
        assert row.parameters is not None
        return {"method": _RIVALS[name.split("/")[0]], "footprint": row.parameters / 100}
    method, *energy = name.split()
    return {"method": method, **({"energy": float(energy[0])} if energy else {})}


def _hits(cell: Cell, number: int) -> int:
    if number not in _TOP5:
        return cell.hits
    if cell.top_hits is None:
        raise DataError(
            f"{CELLS_FILE}: the row {cell.cell} ({cell.protocol}, {cell.domain}) has no top-5 "
            "accuracy; train it again with --fresh"
        )
    return cell.top_hits


def _row(row: TableRow, cells: Sequence[Cell], full: float, number: int) -> tuple[str, ...]:
    theirs = f"{row.change:+.2f}"
    parameters, flops = _share(row.parameters), _share(row.flops)
    if not cells:
        return (row.method, "", theirs, "", "", parameters, "", flops, "")
    result = _result(cells, number)
    change = 100 * (result.accuracy_mean - full)
    return (
        row.method, change_text(result, full), theirs, f"{change - row.change:+.2f}",
        f"{100 * result.footprint:.1f} %", parameters,
        f"{100 * result.flops_ratio:.1f} %", flops, str(len(cells)),
    )  # fmt: skip


def _result(cells: Sequence[Cell], number: int) -> ProtocolResult:
    """The result of a recipe over its seeds, with the table's accuracy (top-1 or top-5)."""
    result = summarise(cells)
    ordered = sorted(cells, key=lambda cell: cell.seed)
    return replace(result, hits=tuple(_hits(cell, number) for cell in ordered))


def change_text(result: ProtocolResult, full: float) -> str:
    """Mean ± standard deviation (95 % interval) of accuracies minus ``full``, in points."""
    mean = 100 * (result.accuracy_mean - full)
    low, high = (100 * (bound - full) for bound in result.accuracy_interval)
    spread = "" if result.accuracy_std is None else f" ± {100 * result.accuracy_std:.2f}"
    return f"{mean:+.2f}{spread} ({low:+.2f} to {high:+.2f})"


def _share(percent: float | None) -> str:
    return "" if percent is None else f"{percent:g} %"


def _findings(
    recipes: Mapping[str, Sequence[Cell]],
    theirs: Sequence[TableRow],
    full: float,
    which: str,
    number: int,
) -> list[str]:
    paper = {row.method.lower(): row for row in theirs}
    epochs = sorted({cell.epochs for cells in recipes.values() for cell in cells})
    own = sum(name in methods(number) for name in recipes)
    others = len(recipes) - own
    quoted = f" and {counted(others, 'line')} of other papers" if others else ""
    lines = [
        f"{own} of the paper's {len(methods(number))} recipes{quoted}, fine-tuned for "
        f"{counted(epochs or [0], 'epoch')}, from a network of {100 * full:.2f} % "
        f"({which}; {theirs[0].full_accuracy:g} % in the paper)."
    ]
    for name, cells in recipes.items():
        row = paper[name]
        result = _result(cells, number)
        change, size = 100 * (result.accuracy_mean - full), 100 * result.footprint
        lines.append(
            f"{row.method}: {change:+.2f} points at {size:.1f} % of the parameters (paper: "
            f"{row.change:+.2f} at {row.parameters:g} %)."
        )
    return lines
