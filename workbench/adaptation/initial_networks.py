"""The networks that trainings start from, and the teachers of distilled trainings."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.loaded_task import LoadedTask, head_rows
from workbench.adaptation.source_network import SourceNetwork, source_structure
from workbench.compression.narrow_networks import build_narrow
from workbench.compression.rebuild import rebuild
from workbench.compression.recipes import Recipe
from workbench.compression.structure import Structure
from workbench.compression.watched_layers import watch
from workbench.models.weight_files import put_weights
from workbench.training.distillation import Teacher
from workbench.training.plans import derive_seed
from workbench.training.protocols import PROTOCOLS, TEACHER, TEACHER_SEED, Protocol


def make_network(
    loaded: LoadedTask,
    protocol: Protocol,
    seed: int,
    source: SourceNetwork,
    recipe: Recipe | None,
) -> nn.Module:
    """Make the network that a protocol starts from.

    A "scratch" protocol starts from random weights. A "fine" protocol starts from the source's
    weights of the filters that the recipe keeps, or of all filters. Its classifier has the
    source's rows of the target's classes (``--head slice``) or random weights (``--head new``).

    Args:
        recipe: the filters to keep; None for the full network.
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
    kept = {**(recipe.kept if recipe else {}), **head_rows(loaded)}
    inherited = rebuild(full, kept, structure)
    if task.settings.training.head == "new":
        _put_head(inherited, fresh, structure)
    return inherited


def _put_head(network: nn.Module, fresh: nn.Module, structure: Structure) -> None:
    """Replace the classifier, and the batch norm behind it, by those of another network."""
    for cut in structure.classifier.cuts:
        part = network.get_submodule(cut.layer)
        part.load_state_dict(fresh.get_submodule(cut.layer).state_dict())


def starting_network(
    loaded: LoadedTask, protocol: Protocol, seed: int, source: SourceNetwork, analysis: Analysis
) -> Callable[[], nn.Module]:
    """A function that makes the network that a protocol starts from.

    After iterative PFA, pfa-fine and pfa-distill start from the network that its steps made. With
    compensation, they start from the compensated network, and so does pfa-source.
    """
    recipe, task = analysis.recipe if protocol.compressed else None, loaded.task
    start = analysis.start
    if not (start and protocol.compressed and protocol.inherited):
        return lambda: make_network(loaded, protocol, seed, source, recipe)
    if task.settings.recipe.steps > 1 or task.settings.training.head != "new":
        return start

    def with_new_head() -> nn.Module:
        network = start()
        fresh = make_network(loaded, PROTOCOLS["pfa-scratch"], seed, source, recipe)
        _put_head(network, fresh, source_structure(task))
        return network

    return with_new_head


def watched_network(loaded: LoadedTask, make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """A function that makes a network with a watch on its layers.

    The network raises NetworkError when it runs other layers than in the source network's proof.
    """

    def make_watched() -> nn.Module:
        network = make()
        watch(network, source_structure(loaded.task).path)
        return network

    return make_watched


def teacher_of(
    loaded: LoadedTask, source: SourceNetwork, teacher: SourceNetwork
) -> Callable[[], Teacher]:
    """A function that makes the teacher of a distilled protocol.

    Args:
        teacher: the trained weights of the teacher.
    """
    settings = loaded.task.settings

    def make() -> Teacher:
        network = make_network(loaded, PROTOCOLS[TEACHER], TEACHER_SEED, source, None)
        put_weights(network, teacher.tensors, teacher.origin)
        watch(network, source_structure(loaded.task).path)
        return Teacher(network, settings.training.temperature, settings.training.distill_weight)

    return make
