"""The limits that a user can set on a network's cost."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.errors import SettingsError

#: The options that are budgets, with the words that follow their value in messages.
BUDGETS = {
    "footprint": "of the parameters",
    "flops": "of the FLOPs",
    "params": "parameters",
    "latency_ms": "ms",
}
_UNITS = {"k": 1e3, "m": 1e6, "g": 1e9}


@dataclass(frozen=True)
class Budget:
    """The largest allowed cost of the network.

    Attributes:
        option: name of the option, a key of ``BUDGETS``.
        limit: a share in (0, 1], a number of parameters, or milliseconds. The name of a recipe
            means the footprint of that recipe.
    """

    option: str
    limit: float | str

    def __str__(self) -> str:
        limit = self.limit if isinstance(self.limit, str) else f"{self.limit:g}"
        return f"--{self.option.replace('_', '-')} {limit}"


def parameter_count(text: str) -> int:
    """Parse a number of parameters as people write it: 2500000, 2.5M, 800k.

    Raises:
        SettingsError: when the text is not such a number.
    """
    number, unit = text.strip().lower(), 1.0
    if number[-1:] in _UNITS:
        number, unit = number[:-1], _UNITS[number[-1]]
    try:
        return round(float(number) * unit)
    except (ValueError, OverflowError):
        raise SettingsError(not_a_count(text)) from None


def not_a_count(text: str) -> str:
    """The error message for a text that is not a number of parameters."""
    return f"--params {text}: is not a number of parameters; write 2500000, 2.5M or 800k"
