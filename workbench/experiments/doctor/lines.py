"""A line of ``workbench doctor``, and the call of a check, which reports its failure as a line."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from workbench.errors import WorkbenchError, brief

T = TypeVar("T")
Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Line:
    """One finding.

    Attributes:
        level: "problem" if something that the workbench needs is missing, "note" for information.
        name: what was checked. text: the finding; for a problem, also what to do.
    """

    level: Level
    name: str
    text: str


@dataclass(frozen=True)
class Check:
    """A check.

    Attributes:
        name: what it checks, for a failure of the check itself.
        find: returns its lines; may raise anything.
        needed: whether a failure is a problem; otherwise it is a note.
        library: without this one, the check is left out.
    """

    name: str
    find: Callable[[], Sequence[Line]]
    needed: bool = True
    library: str = ""


def quietly(find: Callable[[], T]) -> T:
    """Call a function without its warnings, which would appear between the lines."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return find()


def lines_of(check: Check) -> list[Line]:
    """The lines of a check, or one line about its failure."""
    failed: Level = "problem" if check.needed else "note"
    try:
        return list(quietly(check.find))
    except WorkbenchError as error:
        return [Line(failed, check.name, problem) for problem in error.problems]
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a broken library may raise anything
        kind = type(error).__name__
        text = f"the check failed ({kind}: {brief(Exception(str(error) or kind))})"
        return [Line(failed, check.name, text)]


def usable(lines: Sequence[Line]) -> bool:
    """Whether nothing that the workbench needs is broken."""
    return all(line.level != "problem" for line in lines)


def as_dict(lines: Sequence[Line]) -> dict[str, Any]:
    """The lines as plain data."""
    return {"usable": usable(lines), "checks": [asdict(line) for line in lines]}
