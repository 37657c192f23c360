"""The networks that trainings start from."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import nn

from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.tasks.loaded_task import LoadedTask, head_rows
from workbench.adaptation.tasks.source_network import (
    SourceNetwork,
    source_structure,
    with_new_classes,
)
from workbench.compression.factorisation.layers import path_of
from workbench.compression.groups.rebuild import rebuild
from workbench.compression.groups.structure import Structure
from workbench.compression.groups.watched_layers import watch
from workbench.compression.narrow_networks import build_narrow
from workbench.compression.recipes.recipes import Recipe
from workbench.models.networks import build_network
from workbench.training.plans import Plan, derive_seed
from workbench.training.protocols import Protocol
from workbench.training.scaled_dropout import scale_dropouts


def make_network(
    loaded: LoadedTask,
    protocol: Protocol,
    seed: int,
    source: SourceNetwork,
    recipe: Recipe | None,
    *,
    all_classes: bool = False,
) -> nn.Module:
    """Make the network that a protocol starts from.

    A "scratch" protocol starts from random weights. A "fine" protocol starts from the source's
    weights of the filters that the recipe keeps, or of all filters. Its classifier has the
    source's rows of the target's classes (``--head slice``) or random weights (``--head new``).

    Args:
        recipe: the filters to keep; None for the full network.
        all_classes: an inherited classifier keeps all classes of the source.
    """
    task = loaded.task
    fresh = build_narrow(
        task.model,
        task.source.shape,
        len(task.domain.classes),
        recipe.widths if recipe else (),
        factors=recipe.factors if recipe else (),
        seed=derive_seed(seed, "weights"),
    )
    if not protocol.inherited:
        return fresh
    if recipe and recipe.factorises:
        raise ValueError("factorised_start makes the inherited weights of factorised layers")
    structure = source_structure(task)
    kept = dict(recipe.kept) if recipe else {}
    if all_classes:
        return rebuild(source.build_whole(task), kept, structure)
    inherited = rebuild(source.build(task), {**kept, **head_rows(loaded)}, structure)
    if task.settings.training.head == "new":
        _put_head(inherited, fresh, structure)
    return inherited


def _put_head(network: nn.Module, fresh: nn.Module, structure: Structure) -> None:
    """Replace the classifier, and the batch norm behind it, by those of another network."""
    for cut in structure.classifier.cuts:
        part = network.get_submodule(cut.layer)
        part.load_state_dict(fresh.get_submodule(cut.layer).state_dict())


def starting_network(
    loaded: LoadedTask,
    protocol: Protocol,
    seed: int,
    source: SourceNetwork,
    analysis: Analysis,
    *,
    all_classes: bool = False,
) -> Callable[[], nn.Module]:
    """A function that makes the network that a protocol starts from.

    After iterative PFA, a training of gates, compensation, a factorisation or a repair, pfa-fine
    and pfa-distill start from the network that these made. So does pfa-source, except after
    iterative PFA.

    Args:
        all_classes: as for ``make_network``.
    """
    recipe = analysis.recipe if protocol.compressed else None
    if recipe and protocol.inherited:
        prepared = analysis.prepared
        if prepared:
            return lambda: _specialised(loaded, prepared(), seed, recipe, all_classes=all_classes)
        if analysis.start:
            return analysis.start
    return lambda: make_network(loaded, protocol, seed, source, recipe, all_classes=all_classes)


def _specialised(
    loaded: LoadedTask, network: nn.Module, seed: int, recipe: Recipe, *, all_classes: bool
) -> nn.Module:
    """A network that was prepared, with the classifier that a protocol starts from.

    Args:
        network: with all classes of the source.
    """
    if all_classes:
        return network
    task = loaded.task
    shape, classes = task.source.shape, len(task.domain.classes)
    fresh = build_narrow(
        task.model,
        shape,
        classes,
        recipe.widths,
        factors=recipe.factors,
        seed=derive_seed(seed, "weights"),
    )
    rows = head_rows(loaded)
    if rows:
        network = rebuild(network, rows, source_structure(task))
    else:
        network = with_new_classes(network, copy.deepcopy(fresh))
    if task.settings.training.head == "new":
        _put_head(network, fresh, source_structure(task))
    return network


def with_own_dropout(
    loaded: LoadedTask, plan: Plan, make: Callable[[], nn.Module]
) -> Callable[[], nn.Module]:
    """A function that makes a compressed network with the dropout rates that its plan asks for."""
    if not plan.scale_dropout:
        return make

    def make_scaled() -> nn.Module:
        network, task = make(), loaded.task
        full = build_network(task.model, task.source.shape, len(task.domain.classes))
        scale_dropouts(network, full, task.source.shape)
        return network

    return make_scaled


def watched_network(loaded: LoadedTask, make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """A function that makes a network with a watch on its layers.

    The network raises NetworkError when it runs other layers than in the source network's proof.
    """

    def make_watched() -> nn.Module:
        network = make()
        watch(network, path_of(network, source_structure(loaded.task).path))
        return network

    return make_watched
