"""What can be wrong with the options that shape a recipe: method, energy, budgets, rounding."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.compression.budgets import BUDGETS, Budget
from workbench.compression.methods import METHODS
from workbench.errors import did_you_mean
from workbench.pfa import DIVERGENCES, MAPS
from workbench.settings import Settings

_MOST_MULTIPLE = 1024


def check_recipe_options(settings: Settings) -> list[str]:
    """One line for each value that an option of the recipe cannot have."""
    return [
        *check_choice("--method", settings.method, list(METHODS)),
        *check_choice("--divergence", settings.divergence, list(DIVERGENCES)),
        *check_choice("--map", settings.gamma_map, list(MAPS)),
        *_check_energy(settings),
        *_check_budgets(settings),
        *_check_divergence(settings),
        *_check_multiple(settings),
    ]


def find_budget(settings: Settings) -> Budget | None:
    """The budget among the settings, which have been checked."""
    given = {name: getattr(settings, name) for name in BUDGETS}
    return next((Budget(name, limit) for name, limit in given.items() if limit is not None), None)


def check_choice(option: str, value: str, known: Sequence[str]) -> list[str]:
    """A line when the value is none of those known."""
    if value in known:
        return []
    return [f"{option}: unknown value '{value}'{did_you_mean(value, known)}"]


def _check_energy(settings: Settings) -> list[str]:
    if settings.energy is None:
        return []
    problems = []
    if not 0 < settings.energy <= 1:
        problems.append(f"--energy {settings.energy:g} is not within (0, 1]; try 0.95")
    if settings.method != "pfa-en":
        problems.append(f"--energy is an option of --method pfa-en, not of {settings.method}")
    return problems


def _check_budgets(settings: Settings) -> list[str]:
    given = {f"--{name.replace('_', '-')}": getattr(settings, name) for name in BUDGETS}
    given = {option: limit for option, limit in given.items() if limit is not None}
    problems = []
    for option, limit in given.items():
        share = option in ("--footprint", "--flops")
        if share and not 0 < limit <= 1:
            problems.append(f"{option} {limit:g} is not within (0, 1]; try 0.25")
        if not share and not 0 < limit < float("inf"):
            problems.append(f"{option} {limit:g} is not a positive number")
        if settings.method != "pfa-en":
            problems.append(f"{option} is an option of --method pfa-en, not of {settings.method}")
    if settings.energy is not None:
        given["--energy"] = settings.energy
    if len(given) > 1:
        problems.append(f"{' and '.join(given)} exclude each other; name one")
    return problems


def _check_divergence(settings: Settings) -> list[str]:
    if settings.method == "pfa-kl":
        return []
    pairs = (
        ("--divergence", settings.divergence, Settings.divergence),
        ("--map", settings.gamma_map, Settings.gamma_map),
    )
    return [
        f"{option} is an option of --method pfa-kl, not of {settings.method}"
        for option, value, default in pairs
        if value != default
    ]


def _check_multiple(settings: Settings) -> list[str]:
    if 1 <= settings.multiple_of <= _MOST_MULTIPLE:
        return []
    return [f"--multiple-of {settings.multiple_of} is not within 1 to {_MOST_MULTIPLE}; try 8"]
