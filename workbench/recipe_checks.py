"""What can be wrong with the options that shape a recipe: method, energy, budgets, rounding."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.compression.budgets import BUDGETS, Budget
from workbench.errors import did_you_mean
from workbench.method_names import METHODS, RECIPES, REFERENCE, SELECTIONS
from workbench.pfa import DIVERGENCES, MAPS
from workbench.settings import Settings

_MOST_MULTIPLE = 1024
_SELF_SUFFICIENT = ("pfa-kl", "pfa-en")  # say without a budget how many filters to keep


def check_recipe_options(settings: Settings) -> list[str]:
    """One line for each value that an option of the recipe cannot have."""
    return [
        *check_choice("--method", settings.method, list(METHODS)),
        *([] if settings.recipe is None else check_choice("--recipe", settings.recipe, RECIPES)),
        *(
            []
            if settings.selection is None
            else check_choice("--selection", settings.selection, SELECTIONS)
        ),
        *_check_draw(settings),
        *(_check_steps(settings) if settings.method in METHODS else ()),
        *check_choice("--divergence", settings.divergence, list(DIVERGENCES)),
        *check_choice("--map", settings.gamma_map, list(MAPS)),
        *_check_energy(settings),
        *_check_budgets(settings),
        *_check_divergence(settings),
        *_check_multiple(settings),
    ]


def find_budget(settings: Settings) -> Budget | None:
    """The budget among the settings, which have been checked.

    A method that does not say by itself how much to remove gets the footprint of PFA-KL.
    """
    given = {name: getattr(settings, name) for name in BUDGETS}
    found = (Budget(name, limit) for name, limit in given.items() if limit is not None)
    default = None if settings.method in _SELF_SUFFICIENT else Budget("footprint", REFERENCE)
    return next(found, default)


def check_once(option: str, names: Sequence[object]) -> list[str]:
    """A line when an option names one twice."""
    return [f"{option} names one twice; name each once"] if len(set(names)) < len(names) else []


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
        if isinstance(limit, str):
            if limit != REFERENCE:
                problems.append(f"{option} {limit}: is neither a share in (0, 1] nor '{REFERENCE}'")
            continue
        share = option in ("--footprint", "--flops")
        if share and not 0 < limit <= 1:
            problems.append(f"{option} {limit:g} is not within (0, 1]; try 0.25")
        if not share and not 0 < limit < float("inf"):
            problems.append(f"{option} {limit:g} is not a positive number")
    if given and settings.method == REFERENCE:
        problems.append(
            f"{' and '.join(given)}: pfa-kl says itself how many filters to keep; for a budget "
            "take --method pfa-en"
        )
    if settings.energy is not None:
        given["--energy"] = settings.energy
    if len(given) > 1:
        problems.append(f"{' and '.join(given)} exclude each other; name one")
    return problems


def _check_steps(settings: Settings) -> list[str]:
    budget = find_budget(settings)
    if settings.steps == 1 or budget is None or not isinstance(budget.limit, str):
        return []
    return [
        f"--steps {settings.steps}: PFA-KL's footprint changes from step to step; name a share, as "
        "in --footprint 0.25"
    ]


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


def _check_draw(settings: Settings) -> list[str]:
    if settings.draw < 0:
        return [f"--draw {settings.draw} is negative; use 0 or more"]
    if settings.draw and "random" not in (settings.method, settings.selection):
        return ["--draw has no effect: nothing is drawn but by the recipe and selection 'random'"]
    return []
