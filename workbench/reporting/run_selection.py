"""Sort and filter the rows of a comparison: ``--sort``, ``--where`` and ``--limit``.

A condition is COLUMN OPERATOR VALUE. Numbers are compared with <, <=, >, >=, = and !=, and text
with =, != and ~ (a pattern with * and ?). Shares may be percentages ("30%"), and counts may have a
unit ("2.5M"). A row without the value (a latency that was not measured) meets no condition. The
text is taken apart by one regular expression and is never evaluated.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from workbench.errors import SettingsError
from workbench.reporting.run_columns import Column, check_column, column_of

if TYPE_CHECKING:
    from workbench.reporting.compared_results import ComparedResult

_CONDITION = re.compile(r"\s*([A-Za-z_0-9]+)\s*(<=|>=|!=|<|>|=|~)\s*(.*?)\s*", re.DOTALL)
_NUMBER = re.compile(r"(\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(e[+-]?\d{1,2})?\s*(%|k|M|G)?")
_UNITS = {None: 1.0, "%": 0.01, "k": 1e3, "M": 1e6, "G": 1e9}
_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "=": operator.eq, "!=": operator.ne,
}  # fmt: skip
_TEXT: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "~": fnmatchcase,
}  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """A condition on one column.

    Attributes:
        compare: called with a row's value and ``wanted``.
    """

    column: Column
    compare: Callable[[Any, Any], bool]
    wanted: float | str

    def holds(self, row: ComparedResult) -> bool:
        """Whether a row meets the condition."""
        value = self.column.value(row)
        return value is not None and self.compare(value, self.wanted)


@dataclass(frozen=True)
class Selection:
    """Which rows are shown, and in which order.

    Attributes:
        where: conditions that all hold.
        sort: the column to sort by; None keeps the order.
        descending: whether the largest value comes first.
        limit: number of rows; None for all.
    """

    where: tuple[Condition, ...] = ()
    sort: Column | None = None
    descending: bool = False
    limit: int | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Headers of the columns that decide about rows and order."""
        used = [*(each.column for each in self.where), *([self.sort] if self.sort else [])]
        return tuple(column.header or column.name for column in used)

    def apply(self, rows: Sequence[ComparedResult]) -> list[ComparedResult]:
        """The chosen rows; those without the value to sort by come last."""
        found = [row for row in rows if all(each.holds(row) for each in self.where)]
        if self.sort is not None:
            value = self.sort.value
            known = [row for row in found if value(row) is not None]
            unknown = [row for row in found if value(row) is None]
            found = sorted(known, key=value, reverse=self.descending) + unknown
        return found[: self.limit]


def selection_of(
    where: Sequence[str] = (),
    sort: str | None = None,
    descending: bool = False,
    limit: int | None = None,
    columns: Sequence[str] = (),
) -> Selection:
    """Parse the options.

    Args:
        where: conditions, all of which a row must meet.
        sort: name of a column; with "-" before it, the largest value comes first.
        descending: sort in the other direction.
        limit: largest number of rows.
        columns: names of the columns to show; they are only checked.

    Raises:
        SettingsError: with one line for each mistake in any of them.
    """
    conditions: list[Condition] = []
    problems: list[str] = []
    for text in where:
        try:
            conditions.append(condition_of(text))
        except SettingsError as error:
            problems += error.problems
    name = None if sort is None else sort.removeprefix("-")
    if name is not None:
        problems += check_column("--sort", name)
    elif descending:
        problems.append("--descending has no effect without --sort; name a column")
    problems += [line for each in columns for line in check_column("--columns", each)]
    if len(set(columns)) < len(columns):
        problems.append("--columns lists a column twice; list each once")
    if limit is not None and limit < 1:
        problems.append(f"--limit {limit} is too small; it must be at least 1")
    if problems:
        raise SettingsError(*problems)
    reverse = (sort or "").startswith("-") != descending
    column = None if name is None else column_of(name)
    return Selection(tuple(conditions), column, reverse, limit)


def condition_of(text: str) -> Condition:
    """Parse one condition.

    Raises:
        SettingsError: when it is not one.
    """
    option, parts = f"--where '{text}'", _CONDITION.fullmatch(text)
    if not parts or not parts[3] or parts[3][0] in "<>=~!":
        raise SettingsError(
            f"{option}: is not a condition; write a column, one of < <= > >= = != ~, and a value, "
            "as in 'footprint<0.3'"
        )
    name, sign, value = parts.groups()
    problems = check_column(option, name)
    if problems:
        raise SettingsError(*problems)
    column = column_of(name)
    known = _TEXT if column.kind == "text" else _ORDERED
    if sign not in known:
        what = "text" if column.kind == "text" else "a number"
        raise SettingsError(f"{option}: {name} is {what}; use one of {' '.join(known)}")
    wanted = value if column.kind == "text" else _number(option, column, value)
    return Condition(column, known[sign], wanted)


def _number(option: str, column: Column, text: str) -> float:
    found = _NUMBER.fullmatch(text)
    share = column.kind == "share"
    example = "0.3 or 30%" if share else "12.5, 800k or 2.5M"
    if not found or (found[3] == "%") > share:
        raise SettingsError(f"{option}: '{text}' is not a number; write {example}")
    value = float(found[1] + (found[2] or "")) * _UNITS[found[3]]
    if share and value > 1:
        raise SettingsError(f"{option}: {column.name} is a share in [0, 1]; write {example}")
    return value
