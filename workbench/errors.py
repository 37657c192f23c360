"""Errors that the workbench reports to the user.

Every error says what, where, which value and what to do, in one line per problem. The command
line prints the lines and exits with the error's ``exit_code``; it shows no traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

_LONGEST_LINE = 2000  # characters; a wrong value can be a whole file
_MOST_PROBLEMS = 40  # enough to correct before the next try


class WorkbenchError(Exception):
    """A failure that is explained to the user instead of shown as a traceback.

    ``problems`` has one line per problem. ``exit_code`` is 2 if the user can correct the call
    or the files, and 1 if the failure occurred during the work.
    """

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        shown = problems[:_MOST_PROBLEMS]
        if len(problems) > len(shown):
            shown = (*shown, f"... and {len(problems) - len(shown)} more")
        self.problems = tuple(printable(problem) for problem in shown)
        super().__init__("\n".join(self.problems))


class SettingsError(WorkbenchError):
    """An option has an invalid value."""


class DomainError(WorkbenchError):
    """A domain file is missing or not valid; all problems of a file are reported together."""


class DataError(WorkbenchError):
    """A data set is missing, damaged or too small."""


class WeightsError(WorkbenchError):
    """A weight file cannot be read or does not fit the network."""


class NetworkError(WorkbenchError):
    """A network cannot be built, analysed or rebuilt."""


class StoreError(WorkbenchError):
    """The MLflow store or the folder of resumable work cannot be used."""


class DamagedRunError(StoreError):
    """A run lacks something that it should hold, or it is damaged."""


class MissingRunError(StoreError):
    """The store has no run with this id."""


class LostStoreError(StoreError):
    """The store was removed or emptied while the work was going on."""

    exit_code = 1


class TrainingError(WorkbenchError):
    """A training failed: its loss is no longer a finite number."""

    exit_code = 1


class CellsError(WorkbenchError):
    """Some cells failed in their processes; the others are finished and recorded."""

    exit_code = 1


class ProcessError(WorkbenchError):
    """One of the processes of a training has failed, and the others have stopped."""

    exit_code = 1


class DiskError(WorkbenchError):
    """The disk is full or cannot be written; work that was finished before is kept."""

    exit_code = 1


class OutputError(WorkbenchError):
    """Text cannot be written to stdout."""

    exit_code = 1


class ExportError(WorkbenchError):
    """The outputs of an exported file differ from those of its network."""

    exit_code = 1


def printable(text: str, longest: int | None = _LONGEST_LINE) -> str:
    """Escape the characters that would break a line or control a terminal; cut long text.

    Args:
        longest: characters after which the text is cut off; None for all of it.
    """
    if longest is not None and len(text) > longest:
        text = f"{text[:longest]} ..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(numbers: int | Sequence[int], noun: str) -> str:
    """``"1 epoch"`` or ``"1,200 images"``; for several numbers, ``"0 or 15 epochs"``."""
    several = numbers if isinstance(numbers, Sequence) else [numbers]
    shown = " or ".join(f"{each:,}" for each in several)
    return f"{shown} {noun}" if shown == "1" else f"{shown} {noun}s"


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """``"; did you mean 'fox'?"`` for a near miss, otherwise up to twelve of the known words."""
    lower = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), list(lower), n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{lower[near[0]]}'?"
    shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"; known: {shown}" if known else ""


def check_choice(option: str, value: str | None, known: Sequence[str]) -> list[str]:
    """Return a line if the value is not one of the known ones; None is always accepted."""
    if value is None or value in known:
        return []
    return [f"{option}: unknown value '{value}'{did_you_mean(value, known)}"]


def check_once(option: str, names: Sequence[object]) -> list[str]:
    """Return a line if an option lists a value twice."""
    return [f"{option} lists a value twice; list each once"] if len(set(names)) < len(names) else []


def brief(error: Exception) -> str:
    """A library's message on one line of at most 160 characters."""
    return " ".join(str(error).split())[:160] or type(error).__name__
