"""One row of a comparison of runs, and what tells rows of the same stage apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from workbench.reporting.results import ProtocolResult

_UNSET = "None"  # as recorded, an option that the user left out


@dataclass(frozen=True)
class ComparedResult:
    """One protocol under one set of settings, over all its seeds in the store.

    Attributes:
        source, domain, model, method: the adaptation.
        training: epochs, schedule and learning rate, for display.
        result: the result, as in ``Adaptation.protocols``.
        filters: (full, kept) of each layer in the recipe; empty for full networks.
        stage_options: the options of the stage, as recorded; empty without a stage.
        difference: those in which rows that are otherwise named alike differ, for display.
    """

    source: str
    domain: str
    model: str
    method: str
    training: str
    result: ProtocolResult
    filters: tuple[tuple[int, int], ...]
    stage_options: Mapping[str, str] = field(default_factory=dict)
    difference: str = ""

    @property
    def label(self) -> str:
        """Name of the network for people: protocol, stage, and what tells it from other rows."""
        return f"{self.result.label} {self.difference}".strip()


def with_differences(rows: Sequence[ComparedResult]) -> list[ComparedResult]:
    """The rows, with the options in which rows of one stage that are named alike differ."""
    names = [
        (row.source, row.domain, row.model, row.method, row.training, row.result.label)
        for row in rows
    ]
    alike: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for name, row in zip(names, rows, strict=True):
        alike.setdefault(name, []).append(row.stage_options)
    return [
        replace(row, difference=_difference(row, alike[name]))
        for name, row in zip(names, rows, strict=True)
    ]


def _difference(row: ComparedResult, alike: Sequence[Mapping[str, str]]) -> str:
    """The options of a row that differ among rows: "exits 4", or "xnor" for binary weights."""
    words = []
    for name, value in row.stage_options.items():
        if value == _UNSET or all(other.get(name) == value for other in alike):
            continue
        words.append(value if name == row.result.stage else f"{name.replace('_', '-')} {value}")
    return " ".join(words)
