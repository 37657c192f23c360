"""The options of ``workbench shrink`` that ``adapt`` does not have, and their checks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.compression.method_names import BUDGETED, FACTORISATIONS, GATES, METHODS
from workbench.compression.recipes.recipe_settings import RUNTIMES, TORCH
from workbench.errors import SettingsError, check_choice, check_once

COSTS = ("flops", "params", "bytes", "latency")
#: Recipes that a search compares by default.
USUAL_RECIPES = ("pfa-cost", "pfa-kl", "uniform")
#: Which filters they keep; recipes that the user names keep their own.
USUAL_SELECTION = BUDGETED.selection
#: Shares of the full network's FLOPs, or of its parameters where these are the cost.
USUAL_BUDGETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
_TIME = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>s|m|h)?")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_MOST_RUNGS = 10


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """What is searched, and for how long.

    Attributes:
        cost: what the cheapest network costs least of.
        runtime: where latencies and bytes are measured.
        time: a duration such as "30m"; None searches to the end.
        recipes: methods of which each is tried with each budget.
        budgets: shares of the full network's FLOPs or parameters, in (0, 1).
        validation: share of the target's training images on which networks are compared.
        rungs: number of rungs of successive halving.
    """

    cost: str = "flops"
    runtime: str = TORCH
    time: str | None = None
    recipes: tuple[str, ...] = USUAL_RECIPES
    budgets: tuple[float, ...] = USUAL_BUDGETS
    validation: float = 0.2
    rungs: int = 3

    @classmethod
    def of(cls, **options: Any) -> SearchSettings:
        """Settings from a user's options; lists may be text with commas.

        Raises:
            SettingsError: for a budget that is not a number.
        """
        for name in ("recipes", "budgets"):
            value = options.get(name)
            if isinstance(value, str):
                options[name] = tuple(part.strip() for part in value.split(",") if part.strip())
        if "budgets" in options:
            options["budgets"] = tuple(_share(value) for value in options["budgets"])
        return cls(**{**options, "recipes": tuple(options.get("recipes", cls.recipes))})

    @property
    def seconds(self) -> float:
        """The time budget in seconds; infinite without one."""
        return float("inf") if self.time is None else seconds_of(self.time) or float("inf")

    @property
    def budget(self) -> str:
        """The option of ``adapt`` that limits a candidate: FLOPs, or parameters."""
        return "footprint" if self.cost in ("params", "bytes") else "flops"

    def problems(self) -> list[str]:
        """One line for each invalid value."""
        problems = [
            *check_choice("--cost", self.cost, COSTS),
            *check_choice("--runtime", self.runtime, RUNTIMES),
            *check_once("--recipes", self.recipes),
            *(
                line
                for name in self.recipes
                for line in check_choice("--recipes", name, list(METHODS))
            ),
            *(
                f"--recipes {name}: keeps all filters, and shrink searches for numbers of filters; "
                f"use 'workbench adapt --method {name}'"
                for name in self.recipes
                if name in FACTORISATIONS
            ),
            *_budget_problems(self.budgets),
        ]
        problems += [
            f"--recipes {name}: trains gates in the full network, which a search of many short "
            "trials does not do; use 'workbench adapt' or 'workbench bench'"
            for name in self.recipes
            if name in GATES
        ]
        if not self.recipes:
            problems.append(f"--recipes is empty; choose from {', '.join(METHODS)}")
        if self.time is not None and seconds_of(self.time) is None:
            problems.append(f"--time {self.time}: is not a duration; write 90s, 30m or 2h")
        if not 0 < self.validation < 1:
            problems.append(f"--validation {self.validation:g} is not within (0, 1); try 0.2")
        if not 1 <= self.rungs <= _MOST_RUNGS:
            problems.append(f"--rungs {self.rungs} is not within 1 to {_MOST_RUNGS}; try 3")
        if self.runtime != TORCH and self.cost in ("flops", "params"):
            problems.append(
                f"--runtime {self.runtime} has no effect with --cost {self.cost}; add --cost "
                "latency or --cost bytes"
            )
        return problems

    def chosen(self) -> dict[str, Any]:
        """What determines the search's result, as plain data; its time does not."""
        return {
            "cost": self.cost,
            "runtime": self.runtime,
            "recipes": list(self.recipes),
            "budgets": list(self.budgets),
            "validation_share": self.validation,  # its name in the keys of recorded searches
            "rungs": self.rungs,
        }


def seconds_of(text: str) -> float | None:
    """Parse a duration such as 90, 90s, 30m or 2h; None if it is none, or 0."""
    found = _TIME.fullmatch(text.strip().lower())
    if not found:
        return None
    return float(found["number"]) * _SECONDS[found["unit"] or "s"] or None


def _share(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        raise SettingsError(f"--budgets {value}: is not a number; try 0.05,0.1,0.2") from None


def _budget_problems(budgets: Sequence[float]) -> list[str]:
    if not budgets:
        return ["--budgets is empty; name shares, as in 0.05,0.1,0.2"]
    problems = [
        f"--budgets {share:g}: is not within (0, 1); try 0.1"
        for share in budgets
        if not 0 < share < 1
    ]
    return problems + check_once("--budgets", [f"{share:g}" for share in budgets])
