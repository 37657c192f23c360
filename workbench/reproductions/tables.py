"""Tables 1 to 8: networks compressed for the whole set that they were trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench import published
from workbench.cells import Cell
from workbench.errors import SettingsError
from workbench.experiments import Part, Wish
from workbench.pages import Page, signed, summarise, table
from workbench.published import TableRow

#: Network and data set of each table; ImageNet's are a folder of the user's: ``--source FOLDER``.
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


def methods(number: int) -> tuple[str, ...]:
    """The recipes of a table that are ours to train, in small letters."""
    rows = [row.method.lower() for row in published.table(number)]
    return tuple(name for name in rows if name.startswith("pfa-"))


def parts(options: Mapping[str, Any], names: Sequence[str], seeds: range) -> list[Part]:
    """The source network as it is, and a part a recipe: compressed and fine-tuned.

    Raises:
        SettingsError: for a table of ImageNet without a folder.
    """
    if "source" not in options:
        raise SettingsError(
            "--source: name a folder with ImageNet's train/ and val/ and a subfolder for each class"
        )
    whole = {**options, "target": options["source"]}
    return [
        Part({**whole, "method": "pfa-kl"}, ("source",), range(1)),
        *(Part({**whole, **_options(name)}, ("pfa-fine",), seeds) for name in names),
    ]


def page(name: str, found: Sequence[tuple[Wish, Cell]], folder: Path) -> Page:
    """Accuracy change, parameters and FLOPs of every recipe beside the paper's."""
    number = int(name.removeprefix("table"))
    cells = [cell for _, cell in found]
    full = next(_accuracy(cell, number) for cell in cells if cell.protocol == "source")
    recipes: dict[str, list[Cell]] = {}
    for _, cell in found:
        if cell.protocol != "source":
            recipes.setdefault(_printed(cell.method), []).append(cell)
    theirs = published.table(number)
    rows = [_row(row, recipes.get(row.method.lower(), []), full, number) for row in theirs]
    columns = (
        "method", "accuracy change, points", "paper", "parameters", "paper", "FLOPs", "paper", "n",
    )  # fmt: skip
    first = cells[0]
    which = "top-5" if number in _TOP5 else "top-1"
    return Page(
        name=name,
        title=f"Table {number}: {first.model} on {first.source}",
        findings=_findings(recipes, theirs, full, which, number),
        body=[
            f"Before compression: {100 * full:.2f} % {which} "
            f"(paper: {theirs[0].full_accuracy:g} %).",
            "",
            *table(columns, rows),
        ],
    )


def _options(name: str) -> dict[str, Any]:
    method, *energy = name.split()
    return {"method": method, **({"energy": float(energy[0])} if energy else {})}


def _printed(label: str) -> str:
    """The table's name of a recipe, in small letters."""
    method, *energy = label.split()
    return f"{method} {float(energy[0]):.2f}" if energy else method


def _accuracy(cell: Cell, number: int) -> float:
    return (cell.top_hits if number in _TOP5 else cell.hits) / cell.images


def _change(cells: Sequence[Cell], full: float, number: int) -> float:
    return 100 * (sum(_accuracy(cell, number) for cell in cells) / len(cells) - full)


def _row(row: TableRow, cells: Sequence[Cell], full: float, number: int) -> tuple[str, ...]:
    paper = (signed(row.change), _share(row.parameters), _share(row.flops))
    if not cells:
        return (row.method, "", paper[0], "", paper[1], "", paper[2], "")
    result = summarise(cells)
    return (
        row.method, f"{_change(cells, full, number):+.2f}", paper[0],
        f"{100 * result.footprint:.1f} %", paper[1],
        f"{100 * result.flops_ratio:.1f} %", paper[2], str(len(cells)),
    )  # fmt: skip


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
    ours = [cells for name, cells in recipes.items() if name in paper]
    epochs = sorted({cell.epochs for cells in ours for cell in cells})
    lines = [
        f"{len(ours)} of the paper's {len(methods(number))} recipes, fine-tuned for "
        f"{' or '.join(map(str, epochs)) or 'no'} epochs, from a network of {100 * full:.2f} % "
        f"({which}) where the paper's has {theirs[0].full_accuracy:g} %."
    ]
    for name, cells in recipes.items():
        row = paper.get(name)
        if row is None or row.parameters is None:
            continue
        size = 100 * summarise(cells).footprint
        lines.append(
            f"{row.method}: {_change(cells, full, number):+.2f} points at {size:.1f} % of the "
            f"parameters (paper: {row.change:+.2f} at {row.parameters:g} %)."
        )
    return lines
