"""The recipe that a task asks for: the method's own, or the largest network within a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from workbench.compression.budgets import (
    BUDGETS,
    Budget,
    confirmed,
    largest_within,
    thresholds,
)
from workbench.compression.costs import Costs, measure_latencies
from workbench.compression.deciding import Diagnosis, keep_counts, make_recipe
from workbench.compression.options import RecipeOptions
from workbench.compression.rebuild import rebuild
from workbench.compression.recipes import Recipe
from workbench.compression.sizes import Sizes, sizes_of
from workbench.compression.structure import Structure
from workbench.errors import SettingsError

_QUICK_ROUNDS, _CAREFUL_ROUNDS = 10, 40


@dataclass(frozen=True, eq=False)
class Candidate:
    """A network that is to be narrowed.

    Attributes:
        network: with the target's classes.
        structure: its filter groups.
        shape: channels, height, width of an image.
        device: where latencies are measured.
        full: costs that shares of a budget are shares of.
    """

    network: nn.Module
    structure: Structure
    shape: tuple[int, int, int]
    device: torch.device
    full: Costs


def choose(
    candidate: Candidate,
    diagnoses: Sequence[Diagnosis],
    options: RecipeOptions,
    budget: Budget | None = None,
) -> Recipe:
    """The recipe of the method, or, with a budget, of PFA-En at the largest energy within it.

    Raises:
        SettingsError: when no network is within the budget; it names the smallest there is.
    """
    if budget is None:
        return make_recipe(diagnoses, candidate.structure, options)
    whole = replace(options, steps_left=1)  # a budget is for where the steps lead
    candidates = thresholds(diagnosis.spectrum for diagnosis in diagnoses)
    cost = _cost(candidate, diagnoses, whole, budget, _QUICK_ROUNDS)
    energy = largest_within(candidates, cost, budget.limit)
    if budget.option == "latency_ms" and energy is not None:
        careful = _cost(candidate, diagnoses, whole, budget, _CAREFUL_ROUNDS)
        energy = confirmed(candidates, energy, careful, budget.limit)
    if energy is None:
        option = f"--{budget.option.replace('_', '-')}"
        raise SettingsError(
            f"{option} {budget.limit:g}: no network is so small; the smallest that can be reached "
            f"has {cost(float(candidates[0])):.4g} {BUDGETS[budget.option]}"
        )
    recipe = make_recipe(diagnoses, candidate.structure, replace(options, energy=energy))
    return replace(recipe, threshold=energy)


def unrounded_costs(
    candidate: Candidate, diagnoses: Sequence[Diagnosis], options: RecipeOptions, recipe: Recipe
) -> Costs:
    """What the recipe's network would cost had its widths not been rounded to a multiple."""
    energy = recipe.threshold or options.energy
    plain = replace(options, energy=energy, multiple_of=1)
    sizes = sizes_of(candidate.network, candidate.structure, candidate.shape)
    return sizes(_widths(diagnoses, plain))


def _widths(diagnoses: Sequence[Diagnosis], options: RecipeOptions) -> dict[str, int]:
    return {name: count.kept for name, count in keep_counts(diagnoses, options).items()}


def _cost(
    candidate: Candidate,
    diagnoses: Sequence[Diagnosis],
    options: RecipeOptions,
    budget: Budget,
    rounds: int,
) -> Callable[[float], float]:
    """The cost that the budget limits, of the network at an energy."""
    if budget.option == "latency_ms":
        return lambda energy: _latency(
            candidate, _widths(diagnoses, replace(options, energy=energy)), rounds
        )
    sizes: Sizes = sizes_of(candidate.network, candidate.structure, candidate.shape)
    full = candidate.full

    def cost(energy: float) -> float:
        small = sizes(_widths(diagnoses, replace(options, energy=energy)))
        return {
            "footprint": small.parameters / full.parameters,
            "flops": small.flops / full.flops,
            "params": small.parameters,
        }[budget.option]

    return cost


def _latency(candidate: Candidate, widths: dict[str, int], rounds: int) -> float:
    structure = candidate.structure
    kept = structure.first([widths[group.name] for group in structure.groups])
    network = rebuild(candidate.network, kept, structure)
    return measure_latencies([network], candidate.shape, candidate.device, rounds=rounds)[0]
