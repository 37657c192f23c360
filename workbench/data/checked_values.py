"""Checks of plain data from files that anybody may have written: type, range, length.

Each function returns the value that it is given and raises ValueError with one clause: what is
wrong, which value, and what is allowed.
"""

from __future__ import annotations

from typing import Any

LONGEST_NAME = 1000  # characters of a class, a layer, a network
LARGEST_NUMBER = 1e18  # beyond any count, time or share that is ever recorded


def whole(what: str, value: object, least: int = 0, most: int = int(LARGEST_NUMBER)) -> int:
    """A whole number from ``least`` to ``most``."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{what} is {_shown(value)}, not a whole number from {least} to {most}")
    return value


def number(what: str, value: object, least: float = 0.0, most: float = LARGEST_NUMBER) -> float:
    """A finite number from ``least`` to ``most``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise ValueError(f"{what} is {_shown(value)}, not a number from {least:g} to {most:g}")
    return float(value)


def short_text(what: str, value: object) -> str:
    """A text of at most ``LONGEST_NAME`` characters; it may be empty."""
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        raise ValueError(
            f"{what} is {_shown(value)}, not a text of at most {LONGEST_NAME} characters"
        )
    return value


def listed(what: str, value: object, least: int = 0, most: int = 1_000_000) -> list[Any]:
    """A list of ``least`` to ``most`` items."""
    if not isinstance(value, list):
        raise ValueError(f"{what} is {_shown(value)}, not a list")
    if not least <= len(value) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise ValueError(f"{what} has {len(value)} items, not {wanted}")
    return value


def mapped(what: str, value: object) -> dict[str, Any]:
    """A mapping by names."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {_shown(value)}, not a mapping")
    return value


def required(what: str, value: dict[str, Any], key: str) -> Any:
    """What a mapping has under a name."""
    if key not in value:
        raise ValueError(f"{what} has no '{key}'")
    return value[key]


def _shown(value: object) -> str:
    """A value in a message: the beginning of a text or number, the kind of anything else."""
    if isinstance(value, (str, int, float)):
        text = repr(value) if not isinstance(value, str) else repr(value[:40])
        return text if len(text) <= 44 else f"{text[:40]}..."
    return "null" if value is None else f"a {type(value).__name__}"
