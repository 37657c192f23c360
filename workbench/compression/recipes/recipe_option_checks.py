"""Checks of a recipe's options: one line for each value that is invalid or has no effect.

Each private function checks one group of options.
"""

from __future__ import annotations

from dataclasses import fields

from workbench.compression.costs.budget_limits import BUDGETS, check_budgets
from workbench.compression.factorisation import option_checks
from workbench.compression.method_names import (
    COST_AWARE,
    COSTS,
    ENERGIES,
    METHODS,
    RECIPES,
    REFERENCE,
    SELECTIONS,
)
from workbench.compression.recipes.layer_options import contradictions
from workbench.compression.recipes.recipe_settings import RUNTIMES, RecipeSettings
from workbench.errors import check_choice

_MOST_MULTIPLE = 1024


def recipe_problems(settings: RecipeSettings) -> list[str]:
    """One line for each invalid value of the options of a recipe."""
    from workbench.pfa import DIVERGENCES, MAPS

    if settings.recipe_file is not None:
        return _file_problems(settings)
    return [
        *check_choice("--method", settings.method, list(METHODS)),
        *check_choice("--recipe", settings.recipe, RECIPES),
        *check_choice("--selection", settings.selection, SELECTIONS),
        *_draw_problems(settings),
        *_gate_problems(settings),
        *_factor_problems(settings),
        *(_step_problems(settings) if settings.method in METHODS else ()),
        *check_choice("--divergence", settings.divergence, list(DIVERGENCES)),
        *check_choice("--map", settings.gamma_map, list(MAPS)),
        *_energy_problems(settings),
        *_budget_problems(settings),
        *_divergence_problems(settings),
        *_multiple_problems(settings),
        *check_choice("--cost", settings.cost, COSTS),
        *_cost_problems(settings),
        *check_choice("--runtime", settings.runtime, list(RUNTIMES)),
        *_runtime_problems(settings),
    ]


def _file_problems(settings: RecipeSettings) -> list[str]:
    """Problems of the options that can be combined with a recipe file, and of all others."""
    defaults = {each.name: each.default for each in fields(RecipeSettings)}
    problems = contradictions(vars(settings), defaults)
    problems += check_choice("--selection", settings.selection, SELECTIONS)
    problems += _draw_problems(settings)
    if not problems:
        problems = _divergence_problems(settings) + _cost_problems(settings)
        problems += _runtime_problems(settings)
    return problems


def _gate_problems(settings: RecipeSettings) -> list[str]:
    """Methods that train gates: at most one."""
    names = settings.every_gates
    if len(names) < 2:
        return []
    return [f"{settings.label}: each of {' and '.join(names)} trains gates of its own; name one"]


def _factor_problems(settings: RecipeSettings) -> list[str]:
    """Options that a factorisation does not have."""
    if not settings.factorises:
        return []
    defaults = {each.name: each.default for each in fields(settings)}
    return option_checks.factor_problems(settings.method, vars(settings), defaults)


def _energy_problems(settings: RecipeSettings) -> list[str]:
    """``--energy``."""
    if settings.energy is None:
        return []
    problems = []
    if not 0 < settings.energy <= 1:
        problems.append(f"--energy {settings.energy:g} is not within (0, 1]; try 0.95")
    if settings.method not in ENERGIES:
        known = ", ".join(ENERGIES)
        problems.append(f"--energy is an option of --method {known}, not of {settings.method}")
    return problems


def _budget_problems(settings: RecipeSettings) -> list[str]:
    """The budgets, and whether one is needed."""
    given = {name: getattr(settings, name) for name in BUDGETS}
    problems = check_budgets(given, energy=settings.energy)
    if settings.footprint == REFERENCE == settings.method:
        problems.append(
            f"--footprint {REFERENCE} is what --method {REFERENCE} has without a budget; leave "
            "it out"
        )
    return problems


def _step_problems(settings: RecipeSettings) -> list[str]:
    """``--steps``, together with compensation and budget."""
    if settings.steps < 1:
        return [f"--steps {settings.steps} is too small; it must be at least 1"]
    if settings.steps > 1 and settings.compensate:
        return [
            f"--compensate with --steps {settings.steps}: iterative PFA trains the network between "
            "its steps instead; use --no-compensate or leave --steps out"
        ]
    budget = settings.budget
    if settings.steps == 1 or budget is None or not isinstance(budget.limit, str):
        return []
    return [
        f"--steps {settings.steps}: PFA-KL's footprint changes from step to step; name a share, "
        "as in --footprint 0.25"
    ]


def _divergence_problems(settings: RecipeSettings) -> list[str]:
    """``--divergence`` and ``--map``, which are PFA-KL's."""
    if settings.method == "pfa-kl":
        return []
    pairs = (
        ("--divergence", settings.divergence, type(settings).divergence),
        ("--map", settings.gamma_map, type(settings).gamma_map),
    )
    return [
        f"{option} is an option of --method pfa-kl, not of {settings.method}"
        for option, value, default in pairs
        if value != default
    ]


def _multiple_problems(settings: RecipeSettings) -> list[str]:
    """``--multiple-of``."""
    if 1 <= settings.multiple_of <= _MOST_MULTIPLE:
        return []
    return [f"--multiple-of {settings.multiple_of} is not within 1 to {_MOST_MULTIPLE}; try 8"]


def _cost_problems(settings: RecipeSettings) -> list[str]:
    """``--cost`` and ``--min-share``."""
    problems = []
    if settings.cost is not None and settings.method != COST_AWARE:
        problems.append(f"--cost is an option of --method {COST_AWARE}, not of {settings.method}")
    if settings.min_share is not None and not 0 <= settings.min_share < 1:
        problems.append(f"--min-share {settings.min_share:g} is not within [0, 1); try 0.05")
    return problems


def _runtime_problems(settings: RecipeSettings) -> list[str]:
    """``--runtime`` without a limited latency."""
    if settings.runtime == type(settings).runtime or settings.latency_ms is not None:
        return []
    return [
        f"--runtime {settings.runtime} has no effect without --latency-ms; add one, as in "
        "--latency-ms 1.5"
    ]


def _draw_problems(settings: RecipeSettings) -> list[str]:
    """``--draw``."""
    if settings.draw < 0:
        return [f"--draw {settings.draw} is negative; use 0 or more"]
    if settings.draw and "random" not in (settings.method, settings.selection):
        return ["--draw has no effect: only the recipe and the selection 'random' use it"]
    return []
