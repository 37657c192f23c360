"""Choose the rank or group size of each layer, by the method's own rule or for a budget."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from workbench import pfa
from workbench.compression.costs.budget_limits import BUDGETS, Budget, limited_cost
from workbench.compression.costs.budgets import confirmed, largest_within
from workbench.compression.costs.costs import Costs, count_costs, measure_latencies
from workbench.compression.costs.sizes import places_of
from workbench.compression.factorisation.algebra import SizeChoices
from workbench.compression.factorisation.factor_method import FactorMethod
from workbench.compression.factorisation.layers import FactorisedLayer, factorise, weight_of
from workbench.compression.groups.structure import Structure
from workbench.compression.recipe_choice.budgeted_recipe import Candidate
from workbench.compression.recipes.layer_options import FixedLayer
from workbench.compression.recipes.recipes import LayerRecipe, Recipe
from workbench.errors import SettingsError
from workbench.models.factors import GROUPED, Factor
from workbench.pfa import StreamingCovariance

_QUICK_ROUNDS, _CAREFUL_ROUNDS = 10, 40
#: Why a layer stays as it is.
DOES_NOT_PAY = "two layers of the size that it needs would have no fewer parameters"
TOO_MUCH_LOST = "no group size keeps the requested share of its weights"


@dataclass(frozen=True, eq=False)
class LayerFacts:
    """What the choice of a layer's size depends on.

    Attributes:
        name: the layer's name.
        shape: of its weights, (n, c, *kernel).
        has_bias: whether it has a bias.
        places: positions of its output, or tokens.
        choices: what it keeps at each size.
        active: number of filters whose output varies; without images, that have weights.
    """

    name: str
    shape: tuple[int, ...]
    has_bias: bool
    places: int
    choices: SizeChoices
    active: int

    def saving(self, factor: Factor) -> Costs:
        """Parameters and FLOPs that a factor saves; both may be negative."""
        return _saving(self.shape, self.has_bias, self.places, factor)


def _saving(shape: tuple[int, ...], has_bias: bool, places: int, factor: Factor) -> Costs:
    filters, channels = shape[:2]
    inputs = int(np.prod(shape[1:]))
    if factor.kind == GROUPED:
        weights = inputs * factor.size + filters * channels
    else:
        weights = factor.size * (inputs + filters)
    fewer = filters * inputs - weights
    bias = filters * (int(has_bias) - int(factor.bias))
    return Costs(fewer + bias, 2 * fewer * places)


def smallest_costs(
    network: nn.Module,
    layers: Structure,
    method: FactorMethod,
    fixed: Collection[str],
    shape: tuple[int, int, int],
) -> Costs:
    """Costs of the network with the smallest factor of each layer that it makes cheaper.

    The arguments are those of ``collect_facts``.

    Args:
        fixed: names of layers that stay as they are.
    """
    full, places = count_costs(network, shape), places_of(network, shape)
    savings = []
    for name in (group.name for group in layers.groups if group.name not in fixed):
        layer = network.get_submodule(name)
        has_bias = layer.bias is not None
        factor = Factor(name, method.kind, 1, has_bias or method.reads_outputs)
        savings.append(_saving(weight_of(layer).shape, has_bias, places[name], factor))
    paid = [each for each in savings if each.parameters > 0]
    return Costs(
        full.parameters - sum(each.parameters for each in paid),
        full.flops - sum(each.flops for each in paid),
    )


def collect_facts(
    network: nn.Module,
    layers: Structure,
    method: FactorMethod,
    moments: Mapping[str, StreamingCovariance],
    shape: tuple[int, int, int],
) -> tuple[LayerFacts, ...]:
    """Collect what is known about each layer that can be replaced, in the network's order.

    Args:
        network: the full network.
        layers: from ``factor_candidates.layer_structure``.
        moments: of the outputs, by layer; empty for a method that does not read them.
        shape: channels, height, width of an image.
    """
    places = places_of(network, shape)
    facts = []
    for group in layers.groups:
        layer, found = network.get_submodule(group.name), moments.get(group.name)
        weight = weight_of(layer)
        if found is None:
            active = int(np.count_nonzero(weight.reshape(len(weight), -1).any(axis=1)))
        else:
            active = int(np.count_nonzero(~pfa.inactive_filters(found.covariance)))
        facts.append(
            LayerFacts(
                group.name,
                weight.shape,
                layer.bias is not None,
                places[group.name],
                method.choices(weight, found),
                active,
            )
        )
    return tuple(facts)


@dataclass(frozen=True, eq=False)
class FactorChoice:
    """A method with the facts about all layers that it can replace.

    Attributes:
        name: of the method.
        method: its functions.
        facts: about each layer.
        layers: the layers that can be replaced; ``uncompressed`` has the others.
        fixed: the layers that ``--only`` and ``--skip`` leave out, with the reason.
        images: number of images whose outputs were measured; 0 without any.
    """

    name: str
    method: FactorMethod
    facts: tuple[LayerFacts, ...]
    layers: Structure
    fixed: Mapping[str, FixedLayer]
    images: int

    def factor(self, layer: LayerFacts, threshold: float | None) -> Factor | None:
        """The factor of a layer at a threshold; None if it saves nothing, or no size keeps that."""
        size = self.method.size(layer.choices, threshold)
        if layer.name in self.fixed or size is None:
            return None
        bias = layer.has_bias or self.method.reads_outputs
        factor = Factor(layer.name, self.method.kind, size, bias)
        return factor if layer.saving(factor).parameters > 0 else None

    def factors(self, threshold: float | None) -> tuple[Factor, ...]:
        """The factors of all layers at a threshold."""
        every = (self.factor(layer, threshold) for layer in self.facts)
        return tuple(factor for factor in every if factor is not None)

    def costs(self, full: Costs, threshold: float | None) -> Costs:
        """Costs of the network at a threshold, computed from those of the full one."""
        by_name = {layer.name: layer for layer in self.facts}
        savings = [by_name[each.layer].saving(each) for each in self.factors(threshold)]
        return Costs(
            full.parameters - sum(each.parameters for each in savings),
            full.flops - sum(each.flops for each in savings),
        )

    def thresholds(self) -> np.ndarray:
        """All thresholds at which a layer changes, ascending."""
        free = [layer.choices for layer in self.facts if layer.name not in self.fixed]
        return self.method.thresholds(free) if free else np.ones(1)

    def recipe(self, threshold: float | None) -> Recipe:
        """The recipe at a threshold."""
        factors = self.factors(threshold)
        sizes = {factor.layer: factor.size for factor in factors}
        reasons = {name: fixed.why for name, fixed in self.fixed.items()}
        whole = {
            each.name: TOO_MUCH_LOST
            if self.method.size(each.choices, threshold) is None
            else DOES_NOT_PAY
            for each in self.facts
            if each.name not in {**sizes, **reasons}
        }
        return Recipe(
            self.name,
            self.images,
            tuple(_layer_recipe(layer, sizes.get(layer.name)) for layer in self.facts),
            {**self.layers.uncompressed, **reasons, **whole},
            factors=factors,
        )


def choose_factors(
    choice: FactorChoice, candidate: Candidate, threshold: float | None, budget: Budget | None
) -> Recipe:
    """Make the method's own recipe or, with a budget, the one at the largest threshold within it.

    Args:
        candidate: the network, the full costs, and how latencies are measured.
        threshold: an energy; None for PFA-KL's ranks, and with a budget.
        budget: a limit that is a number.

    Raises:
        SettingsError: when no network is within the budget; the message gives the cost of the
            smallest one.
    """
    if budget is None:
        return choice.recipe(threshold)
    candidates, limit = choice.thresholds(), float(budget.limit)
    cost = _cost(choice, candidate, budget, _QUICK_ROUNDS)
    found = largest_within(candidates, cost, limit)
    if budget.option == "latency_ms" and found is not None:
        careful = _cost(choice, candidate, budget, _CAREFUL_ROUNDS)
        found = confirmed(candidates, found, careful, limit)
    if found is None:
        raise SettingsError(
            f"{budget}: {choice.name} makes no network that small; the smallest possible one has "
            f"{cost(float(candidates[0])):.4g} {BUDGETS[budget.option]}"
        )
    return replace(choice.recipe(found), threshold=found)


def _layer_recipe(layer: LayerFacts, size: int | None) -> LayerRecipe:
    filters, spectrum = layer.shape[0], layer.choices.spectrum
    return LayerRecipe(
        layer=layer.name,
        filters=filters,
        kept_indices=tuple(range(filters)),
        wanted=filters,
        active=layer.active,
        divergence=pfa.divergence(spectrum),
        energy=1.0 if size is None else layer.choices.energy_of(size),
        spectrum=tuple(float(share) for share in spectrum),
    )


def _cost(
    choice: FactorChoice, candidate: Candidate, budget: Budget, rounds: int
) -> Callable[[float], float]:
    """A function from a threshold to the cost that the budget limits."""
    if budget.option == "latency_ms":
        return lambda threshold: _latency(candidate, choice.factors(threshold), rounds)
    full = candidate.full

    def cost(threshold: float) -> float:
        small = choice.costs(full, threshold)
        return limited_cost(budget.option, small, full)

    return cost


def _latency(candidate: Candidate, factors: Sequence[Factor], rounds: int) -> float:
    network = factorise(candidate.network, factors)
    generator = torch.Generator().manual_seed(0)
    for part in network.modules():
        if isinstance(part, FactorisedLayer):  # memory as it was might hold slow denormal numbers
            for values in part.parameters():
                noise = torch.randn(values.shape, generator=generator)
                values.data.copy_(noise.mul_(0.01))
    if candidate.latency is not None:
        return candidate.latency(network, (), rounds)
    return measure_latencies([network], candidate.shape, candidate.device, rounds=rounds)[0]
