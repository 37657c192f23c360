"""Check whether any network is within the budget, before anything is trained or measured."""

from __future__ import annotations

from functools import lru_cache

from workbench.adaptation.tasks.source_network import fixed_layers
from workbench.adaptation.tasks.task import Task
from workbench.compression.costs.budget_limits import (
    BUDGETS,
    Budget,
    least_share_note,
    limited_cost,
)
from workbench.compression.costs.costs import count_costs
from workbench.compression.costs.sizes import Sizes, sizes_of
from workbench.compression.groups.structure import Structure
from workbench.compression.methods import FACTORISATIONS, RECIPES
from workbench.compression.methods.uniform import share_of
from workbench.compression.narrow_networks import structure_of
from workbench.compression.recipe_choice.factor_candidates import known_layers
from workbench.compression.recipe_choice.factor_recipe import smallest_costs
from workbench.errors import SettingsError
from workbench.models.networks import build_network


def check_smallest(task: Task) -> list[str]:
    """Compare the budget with the smallest network that the method or ``--min-share`` allows.

    Returns:
        A warning if only inactive filters, which PFA removes whatever the share is, can make the
        network small enough; otherwise nothing.

    Raises:
        SettingsError: when no network is within the budget.
    """
    budget, share = task.budget, task.settings.recipe.min_share
    if budget is None or isinstance(budget.limit, str):
        return []
    if budget.option == "latency_ms":  # which only a measurement shows
        return []
    if task.settings.recipe.factorises:
        _check_factors(task, budget)
    if not share:
        return []
    small = _cost(task, share, budget.option)
    if small <= budget.limit:
        return []
    least = f"{small:.4g} {BUDGETS[budget.option]}{least_share_note(share)}"
    active_only = RECIPES[task.recipe_options().recipe].active_only
    if not active_only or _cost(task, 0.0, budget.option) > budget.limit:
        raise SettingsError(
            f"{budget}: {task.settings.recipe.label}: no network is that small; the smallest "
            f"possible one has {least}"
        )
    return [
        f"warning: {budget}: if all filters are active, no network is that small; the smallest one "
        f"has {least}"
    ]


def _check_factors(task: Task, budget: Budget) -> None:
    name, shape, classes = task.settings.recipe.method, task.source.shape, task.domain.classes
    method = FACTORISATIONS[name]
    layers = known_layers(task.model, shape, len(task.source.classes), method.kind)
    network = build_network(task.model, shape, len(classes))
    least = smallest_costs(network, layers, method, fixed_layers(task), shape)
    small = limited_cost(budget.option, least, count_costs(network, shape))
    if small > float(budget.limit):
        raise SettingsError(
            f"{budget}: {name} makes no network that small; the smallest possible one has "
            f"{small:.4g} {BUDGETS[budget.option]}"
        )


def _cost(task: Task, share: float, option: str) -> float:
    """What the budget limits, for the network that keeps this share of each layer's filters."""
    classes, fixed = len(task.domain.classes), fixed_layers(task)
    structure, sizes = _sizes(task.model, task.source.shape, classes)
    widths = {
        group.name: fixed[group.name].count
        if group.name in fixed
        else group.buildable(share_of(group.filters, share), task.settings.recipe.multiple_of)
        for group in structure.groups
    }
    return limited_cost(option, sizes(widths), sizes({}))


@lru_cache(maxsize=8)
def _sizes(model: str, shape: tuple[int, int, int], classes: int) -> tuple[Structure, Sizes]:
    structure = structure_of(model, shape, classes)
    return structure, sizes_of(build_network(model, shape, classes), structure, shape)
