"""The limits that a user can set on a network's cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.compression.method_names import REFERENCE
from workbench.errors import SettingsError

if TYPE_CHECKING:
    from workbench.compression.costs.costs import Costs

#: The options that are budgets, with the words that follow their value in messages.
BUDGETS = {
    "footprint": "of the parameters",
    "flops": "of the FLOPs",
    "params": "parameters",
    "latency_ms": "ms",
}
_SHARES = ("footprint", "flops")
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
        return f"{_option(self.option)} {limit}"


def limited_cost(option: str, small: Costs, full: Costs) -> float:
    """What a budget limits, for a network: a number of parameters, or a share of the full network.

    Args:
        option: a key of ``BUDGETS`` except "latency_ms", which only a measurement shows.
    """
    return {
        "footprint": small.parameters / full.parameters,
        "flops": small.flops / full.flops,
        "params": small.parameters,
    }[option]


def least_share_note(share: float | None) -> str:
    """What a message adds to the smallest cost if ``--min-share`` is the reason for it."""
    return f" (--min-share {share:g}; a smaller share allows less)" if share else ""


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


def check_budgets(limits: Mapping[str, float | str | None], *, energy: float | None) -> list[str]:
    """One line for each invalid limit, and one if there is more than one.

    Args:
        limits: by the names in ``BUDGETS``; None for an option that is not given.
        energy: the threshold, which is given instead of a budget.
    """
    given = {name: limit for name, limit in limits.items() if limit is not None}
    problems = [line for name, limit in given.items() for line in _limit_problems(name, limit)]
    names = [*given, *(["energy"] if energy is not None else [])]
    if len(names) > 1:
        problems.append(f"{' and '.join(map(_option, names))} exclude each other; name one")
    return problems


def _limit_problems(name: str, limit: float | str) -> list[str]:
    if isinstance(limit, str):
        if name == "params":
            return [not_a_count(limit)]
        if limit == REFERENCE:
            return []
        return [f"{_option(name)} {limit}: is neither a share in (0, 1] nor '{REFERENCE}'"]
    if name in _SHARES and not 0 < limit <= 1:
        return [f"{_option(name)} {limit:g} is not within (0, 1]; try 0.25"]
    if name not in _SHARES and not 0 < limit < float("inf"):
        return [f"{_option(name)} {limit:g} is not a positive number"]
    return []


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
