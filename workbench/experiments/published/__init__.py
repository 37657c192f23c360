"""The numbers that the source paper reports, as data.

Suau, Zappella, Apostoloff, "Filter Distillation for Network Compression" (arXiv 1807.10585).
``figure4.csv`` was read off the chart of figure 4a, with an error of about 0.3 points (about 1 for
the scratch bars of R2); its footprints are printed there. ``tables.csv`` is appendix B.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources

from workbench.training.protocols import FOUR

FIGURE_4_READING = "read off its chart to about 0.3 points, those from scratch on R2 to about 1"
#: Filters kept in VGG-16's 14 layers for S2, read off figure 4b with about this error.
FIGURE_4B_ERROR = 5
FIGURE_4B_S2 = (34, 43, 104, 109, 218, 217, 204, 338, 256, 183, 139, 114, 92, 76)


@dataclass(frozen=True)
class TableRow:
    """One line of a table.

    Attributes:
        method: name as printed: "PFA-KL", "PFA-En 0.99", or another paper's method.
        full_accuracy: accuracy of the network before compression, in percent.
        change: change of the accuracy, in percentage points.
        parameters, flops: percent of the full network's; None if the paper does not give it.
    """

    method: str
    full_accuracy: float
    change: float
    parameters: float | None
    flops: float | None


def figure4() -> dict[str, dict[str, float]]:
    """Accuracy of each of the four protocols and "footprint", in percent, by domain."""
    found = {}
    for row in _read("figure4.csv"):
        accuracies = {name: float(row[f"{name.replace('-', '_')}_percent"]) for name in FOUR}
        found[row["domain"]] = {**accuracies, "footprint": float(row["footprint_percent"])}
    return found


def table(number: int) -> list[TableRow]:
    """The lines of one of the tables 1 to 8; 6 and 8 have top-5 accuracies."""
    return [
        TableRow(
            row["method"],
            float(row["full_accuracy_percent"]),
            float(row["accuracy_change_pp"]),
            _number(row["parameters_percent"]),
            _number(row["flops_percent"]),
        )
        for row in _read("tables.csv")
        if int(row["table"]) == number
    ]


def _read(name: str) -> list[dict[str, str]]:
    text = resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _number(text: str) -> float | None:
    return float(text) if text else None
