"""The columns of ``workbench compare``, by which its rows are sorted, filtered and shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from workbench.errors import did_you_mean
from workbench.reporting.attack_table import attack_columns
from workbench.reporting.tables import COLUMNS, table_rows
from workbench.training.attack_names import attack_of, attack_title

if TYPE_CHECKING:
    from workbench.reporting.compared_results import ComparedResult

Kind = Literal["text", "number", "share"]


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: as in options and in JSON.
        kind: of its values; a share is within [0, 1].
        value: returns the value of a row; None if it was not measured.
        header: its header in the table; "" for a column that is not in the table by default.
    """

    name: str
    kind: Kind
    value: Callable[[ComparedResult], Any]
    header: str = ""


_FROM_RESULT: dict[str, tuple[Kind, Callable[[ComparedResult], Any]]] = {
    "protocol": ("text", lambda row: row.result.label),
    "accuracy": ("share", lambda row: row.result.accuracy_mean),
    "size": ("number", lambda row: row.result.file_bytes),
    "parameters": ("number", lambda row: row.result.parameters),
    "footprint": ("share", lambda row: row.result.footprint),
    "flops": ("number", lambda row: row.result.flops),
    "latency": ("number", lambda row: row.result.latency_ms),
    "latency_64": ("number", lambda row: row.result.latency_64_ms),
    "train": ("number", lambda row: row.result.train_seconds),
}
RUN_COLUMNS: Mapping[str, Column] = {
    column.name: column
    for column in (
        Column("source", "text", lambda row: row.source),
        Column("domain", "text", lambda row: row.domain, "domain"),
        Column("model", "text", lambda row: row.model, "model"),
        Column("method", "text", lambda row: row.method, "method"),
        Column("training", "text", lambda row: row.training, "training"),
        Column("seeds", "number", lambda row: len(row.result.hits), "seeds"),
        *(
            Column(name, kind, value, header)
            for (name, (kind, value)), header in zip(_FROM_RESULT.items(), COLUMNS, strict=True)
        ),
        Column("flops_ratio", "share", lambda row: row.result.flops_ratio),
        Column("runtime", "text", lambda row: row.result.runtime or None),
    )
}


def find_column(name: str) -> Column | None:
    """A column by its name; ``fgsm_4`` and ``pgd_4`` are accuracies under attack, for any number.

    None if there is no such column.
    """
    if attack_of(name) is None:
        return RUN_COLUMNS.get(name)

    def mean(row: ComparedResult) -> float | None:
        found = row.result.attacks.get(name)
        return fmean(found) if found else None

    return Column(name, "share", mean, attack_title(name))


SHOWN = tuple(name for name, column in RUN_COLUMNS.items() if column.header)


def check_column(option: str, name: str) -> list[str]:
    """One line if there is no such column, with the nearest name and all names."""
    if find_column(name):
        return []
    known = list(RUN_COLUMNS)
    near = did_you_mean(name, known)
    # Without a near name, ``did_you_mean`` lists only the first ones.
    hint = near if near.startswith("; did") else ""
    return [f"{option}: no column '{name}'{hint} (columns: {', '.join(known)})"]


def comparison_table(
    rows: Sequence[ComparedResult], names: Sequence[str] = SHOWN
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Headers and cells of a table with these columns.

    The table of ``SHOWN`` has also the accuracies under attack that any row has.
    """
    if names == SHOWN:
        names = (*SHOWN, *attack_columns([row.result for row in rows]))
    columns = [column_of(name) for name in names]
    results = table_rows([row.result for row in rows])
    cells = []
    for row, result in zip(rows, results, strict=True):
        shown = dict(zip(_FROM_RESULT, result, strict=True)) | {"protocol": row.label}
        if row.result.runtime:
            shown["latency"] += f" ({row.result.runtime})"
        cells.append(tuple(shown.get(each.name) or _text(each, row) for each in columns))
    return [column.header or column.name for column in columns], cells


def column_of(name: str) -> Column:
    """A column whose name ``check_column`` has accepted."""
    column = find_column(name)
    assert column is not None
    return column


def _text(column: Column, row: ComparedResult) -> str:
    value = column.value(row)
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if column.kind == "share" else str(value)


def comparison_dicts(
    rows: Sequence[ComparedResult], names: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The rows as plain data; accuracies and other shares are fractions, unknown values None.

    Args:
        names: columns; by default all, with the accuracy of each seed, its interval, and the ids
            of the runs.
    """
    if names:
        return [{name: column_of(name).value(row) for name in names} for row in rows]
    return [
        {
            **{name: column.value(row) for name, column in RUN_COLUMNS.items()},
            "accuracies": list(row.result.accuracies),
            "accuracy_interval": list(row.result.accuracy_interval),
            "images": row.result.images,
            "run_ids": list(row.result.run_ids),
            **{name: list(found) for name, found in row.result.attacks.items()},
            "weights": row.result.weights,
            **({"stage_options": dict(row.stage_options)} if row.result.stage else {}),
        }
        for row in rows
    ]
