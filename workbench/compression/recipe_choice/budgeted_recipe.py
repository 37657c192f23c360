"""Choose the recipe: the method's own, or the one of the largest network within a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from workbench.compression.costs.budget_limits import (
    BUDGETS,
    Budget,
    least_share_note,
    limited_cost,
)
from workbench.compression.costs.budgets import confirmed, largest_within
from workbench.compression.costs.costs import Costs, measure_latencies
from workbench.compression.costs.sizes import Sizes, sizes_of
from workbench.compression.evidence.evidence import Evidence
from workbench.compression.groups.rebuild import rebuild
from workbench.compression.groups.structure import Structure
from workbench.compression.methods import RECIPES
from workbench.compression.recipe_choice.recipe_from_evidence import keep_counts, make_recipe
from workbench.compression.recipes.recipe_options import RecipeOptions
from workbench.compression.recipes.recipes import Recipe
from workbench.errors import SettingsError

_QUICK_ROUNDS, _CAREFUL_ROUNDS = 10, 40


@dataclass(frozen=True, eq=False)
class Candidate:
    """A network to compress.

    Attributes:
        network: the network, with the target's classes as outputs.
        structure: its filter groups.
        shape: channels, height, width of an image.
        device: device on which latencies are measured.
        full: costs of the full network, to which the shares of a budget refer.
        latency: measures one image's time in ms in the runtime of the budget, given a network, its
            widths and the number of timed passes; None measures it in torch on ``device``.
    """

    network: nn.Module
    structure: Structure
    shape: tuple[int, int, int]
    device: torch.device
    full: Costs
    latency: Callable[[nn.Module, tuple[int, ...], int], float] | None = None


def choose(
    candidate: Candidate,
    evidence: Sequence[Evidence],
    options: RecipeOptions,
    budget: Budget | None = None,
) -> Recipe:
    """Make the method's recipe or, with a budget, the one at the largest threshold within it.

    Raises:
        SettingsError: when no network is within the budget; the message gives the cost of the
            smallest one.
    """
    if budget is None:
        return make_recipe(evidence, candidate.structure, options)
    whole = replace(options, steps_left=1)  # a budget limits the final network
    if isinstance(budget.limit, str):
        budget = replace(budget, limit=footprint_of(candidate, evidence, whole, budget.limit))
    thresholds = RECIPES[options.recipe].thresholds
    assert thresholds is not None  # checked with the options
    candidates = thresholds(options.free(evidence), whole)
    limit = float(budget.limit)
    cost = _cost(candidate, evidence, whole, budget, _QUICK_ROUNDS)
    threshold = largest_within(candidates, cost, limit)
    if budget.option == "latency_ms" and threshold is not None:
        careful = _cost(candidate, evidence, whole, budget, _CAREFUL_ROUNDS)
        threshold = confirmed(candidates, threshold, careful, limit)
    if threshold is None:
        least = least_share_note(options.min_share)
        raise SettingsError(
            f"{budget}: no network is that small; the smallest possible one has "
            f"{cost(float(candidates[0])):.4g} {BUDGETS[budget.option]}{least}"
        )
    recipe = make_recipe(evidence, candidate.structure, replace(options, threshold=threshold))
    return replace(recipe, threshold=threshold)


def unrounded_costs(
    candidate: Candidate, evidence: Sequence[Evidence], options: RecipeOptions, recipe: Recipe
) -> Costs:
    """Costs of the recipe's network without rounding its widths up to a multiple."""
    threshold = options.threshold if recipe.threshold is None else recipe.threshold
    plain = replace(options, threshold=threshold, multiple_of=1)
    sizes = sizes_of(candidate.network, candidate.structure, candidate.shape)
    return sizes(_widths(evidence, plain))


def footprint_of(
    candidate: Candidate, evidence: Sequence[Evidence], options: RecipeOptions, recipe: str
) -> float:
    """Footprint of another recipe: its share of the full network's parameters."""
    other = RecipeOptions(recipe=recipe, multiple_of=options.multiple_of, fixed=options.fixed)
    sizes = sizes_of(candidate.network, candidate.structure, candidate.shape)
    return sizes(_widths(evidence, other)).parameters / candidate.full.parameters


def _widths(evidence: Sequence[Evidence], options: RecipeOptions) -> dict[str, int]:
    return {name: count.kept for name, count in keep_counts(evidence, options).items()}


def _cost(
    candidate: Candidate,
    evidence: Sequence[Evidence],
    options: RecipeOptions,
    budget: Budget,
    rounds: int,
) -> Callable[[float], float]:
    """A function from a threshold to the cost that the budget limits."""
    if budget.option == "latency_ms":
        return lambda threshold: _latency(
            candidate, _widths(evidence, replace(options, threshold=threshold)), rounds
        )
    sizes: Sizes = sizes_of(candidate.network, candidate.structure, candidate.shape)
    full = candidate.full

    def cost(threshold: float) -> float:
        small = sizes(_widths(evidence, replace(options, threshold=threshold)))
        return limited_cost(budget.option, small, full)

    return cost


def _latency(candidate: Candidate, widths: dict[str, int], rounds: int) -> float:
    structure = candidate.structure
    filters = tuple(widths[group.name] for group in structure.groups)
    network = rebuild(candidate.network, structure.first(filters), structure)
    if candidate.latency is not None:
        return candidate.latency(network, filters, rounds)
    return measure_latencies([network], candidate.shape, candidate.device, rounds=rounds)[0]
