"""The recipe of a method that factorises layers, and the network that its trainings start from.

The outputs of the layers are measured at most once per process, when the analysis is measured or a
training needs them. They are not stored, because they take one pass over the target's images.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from torch import nn

from workbench.adaptation.analysis.budget_latency import budget_latency
from workbench.adaptation.tasks.loaded_task import LoadedTask, head_rows
from workbench.adaptation.tasks.source_network import (
    SourceNetwork,
    factorable_layers,
    fixed_layers,
    source_structure,
)
from workbench.compression.costs.costs import count_costs
from workbench.compression.evidence.evidence import Evidence
from workbench.compression.factorisation.algebra import TwoLayers
from workbench.compression.factorisation.layers import (
    Layer,
    MakeWeights,
    bias_of,
    factorise,
    weight_of,
)
from workbench.compression.factorisation.output_moments import measure_output_moments
from workbench.compression.groups.rebuild import rebuild
from workbench.compression.groups.watched_layers import watching
from workbench.compression.methods import FACTORISATIONS
from workbench.compression.recipe_choice.budgeted_recipe import Candidate, footprint_of
from workbench.compression.recipe_choice.factor_recipe import (
    FactorChoice,
    choose_factors,
    collect_facts,
)
from workbench.compression.recipes.recipes import Recipe
from workbench.models.factors import Factor
from workbench.pfa import StreamingCovariance
from workbench.training.progress import Display
from workbench.training.time_left import ANALYSIS, pass_work

Moments = Mapping[str, StreamingCovariance]


@dataclass(frozen=True, eq=False)
class FactorisedResult:
    """A recipe, the networks with the target's classes, and what trainings start from.

    Attributes:
        full, small: without and with the factors.
        start: makes the network with all classes of the source.
    """

    recipe: Recipe
    full: nn.Module
    small: nn.Module
    start: Callable[[], nn.Module]


def factorised(
    loaded: LoadedTask,
    source: SourceNetwork,
    respond: Callable[[], Sequence[Evidence]],
    display: Display,
) -> FactorisedResult:
    """Choose the factors of the task's method, and compute their weights.

    Args:
        respond: gathers the evidence about filter groups, for the recipe that a budget may name.
        display: shows the progress.

    Raises:
        SettingsError: when no network is within the budget.
        NetworkError: when the network runs other layers on these images than in its proof.
    """
    task, shape, structure = loaded.task, loaded.task.source.shape, source_structure(loaded.task)
    name = task.settings.recipe.method
    method, layers = FACTORISATIONS[name], factorable_layers(task)
    moments = _moments(loaded, source, display) if method.reads_outputs else {}
    full = rebuild(source.build(task), head_rows(loaded), structure)
    candidate = Candidate(
        full,
        structure,
        shape,
        loaded.processor.torch_device,
        count_costs(full, shape),
        budget_latency(loaded),
    )
    budget = task.budget
    if budget is not None and isinstance(budget.limit, str):
        share = footprint_of(candidate, respond(), task.recipe_options(), budget.limit)
        budget = replace(budget, limit=share)
    choice = FactorChoice(
        name,
        method,
        collect_facts(full, layers, method, moments, shape),
        layers,
        fixed_layers(task),
        len(loaded.train) if method.reads_outputs else 0,
    )
    recipe = choose_factors(choice, candidate, task.energy, budget)
    small = factorise(full, recipe.factors, _weights_of(recipe, moments))
    start = factorised_start(loaded, source, recipe, display, moments)
    return FactorisedResult(recipe, full, small, start)


def factorised_start(
    loaded: LoadedTask,
    source: SourceNetwork,
    recipe: Recipe,
    display: Display,
    moments: Moments | None = None,
) -> Callable[[], nn.Module]:
    """A function that makes a copy of the factorised network with all classes of the source.

    Args:
        recipe: with the layers to replace.
        display: shows the progress.
        moments: of the layers' outputs, if they are measured already.
    """

    @cache
    def made() -> nn.Module:
        needed = FACTORISATIONS[recipe.method].reads_outputs and recipe.factors
        found = moments
        if found is None:
            found = _moments(loaded, source, display) if needed else {}
        full = source.build_whole(loaded.task)
        return factorise(full, recipe.factors, _weights_of(recipe, found))

    return lambda: copy.deepcopy(made())


def _weights_of(recipe: Recipe, moments: Moments) -> MakeWeights:
    make = FACTORISATIONS[recipe.method].weights

    def weights(factor: Factor, layer: Layer) -> TwoLayers:
        return make(weight_of(layer), bias_of(layer), factor.size, moments.get(factor.layer))

    return weights


def _moments(loaded: LoadedTask, source: SourceNetwork, display: Display) -> Moments:
    """Moments of the outputs of all layers that can be replaced, on the target's images."""
    task = loaded.task
    network, layers = source.build(task), factorable_layers(task)

    def work() -> float:
        return pass_work(count_costs(network, task.source.shape).flops, len(loaded.train))

    title = f"outputs · {task.domain.name}"
    with (
        display.track(title, len(loaded.train), work, ANALYSIS) as advance,
        watching(network, source_structure(task).path),
    ):
        return measure_output_moments(
            network,
            layers.groups,
            loaded.train,
            task.source,
            loaded.processor.torch_device,
            lambda seen: advance(seen, "images"),
        )
