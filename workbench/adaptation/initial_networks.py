"""The networks that trainings start from."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.loaded_task import LoadedTask, head_rows
from workbench.adaptation.source_network import SourceNetwork, source_structure
from workbench.compression.narrow_networks import build_narrow
from workbench.compression.rebuild import rebuild
from workbench.compression.recipes import Recipe
from workbench.compression.watched_layers import watch
from workbench.training.plans import derive_seed
from workbench.training.protocols import Protocol


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
        all_classes: an inherited classifier keeps all classes of the source, with ``--head slice``.
    """
    task = loaded.task
    fresh = build_narrow(
        task.model,
        task.source.shape,
        len(task.domain.classes),
        recipe.widths if recipe else (),
        seed=derive_seed(seed, "weights"),
    )
    if not protocol.inherited:
        return fresh
    full = source.build(task)
    structure = source_structure(task)
    kept = {**(recipe.kept if recipe else {}), **({} if all_classes else head_rows(loaded))}
    inherited = rebuild(full, kept, structure)
    if task.settings.training.head == "new":  # the classifier, and the batch norm behind it
        for cut in structure.classifier.cuts:
            part = inherited.get_submodule(cut.layer)
            part.load_state_dict(fresh.get_submodule(cut.layer).state_dict())
    return inherited


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

    After iterative PFA, pfa-fine and pfa-distill start from the network that its steps made.

    Args:
        all_classes: as for ``make_network``.
    """
    if analysis.start and protocol.compressed and protocol.inherited:
        return analysis.start
    recipe = analysis.recipe if protocol.compressed else None
    return lambda: make_network(loaded, protocol, seed, source, recipe, all_classes=all_classes)


def watched_network(loaded: LoadedTask, make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """A function that makes a network with a watch on its layers.

    The network raises NetworkError when it runs other layers than in the source network's proof.
    """

    def make_watched() -> nn.Module:
        network = make()
        watch(network, source_structure(loaded.task).path)
        return network

    return make_watched
