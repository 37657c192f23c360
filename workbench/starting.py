"""The networks that trainings start from, and those that they follow."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from workbench.analysis import Analysis
from workbench.compression.rebuild import rebuild
from workbench.compression.recipes import Recipe
from workbench.compression.shapes import build_narrow
from workbench.distillation import Teacher
from workbench.protocols import PROTOCOLS, TEACHER, TEACHER_SEED, Protocol
from workbench.subject import SourceNetwork, Subject, head_rows, source_structure
from workbench.training import derive_seed
from workbench.weights import put_weights


def make_network(
    subject: Subject,
    protocol: Protocol,
    seed: int,
    source: SourceNetwork,
    recipe: Recipe | None,
) -> nn.Module:
    """The network that a protocol starts from.

    "Scratch" draws all weights anew. "Fine" keeps the (kept) filters' weights; its classifier
    keeps the rows of the target's classes (``--head slice``) or is drawn anew (``new``).
    """
    task = subject.task
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
    kept = {**(recipe.kept if recipe else {}), **head_rows(subject)}
    inherited = rebuild(full, kept, structure)
    if task.settings.head == "new":  # the classifier, and the batch norm behind it
        for cut in structure.classifier.cuts:
            part = inherited.get_submodule(cut.layer)
            part.load_state_dict(fresh.get_submodule(cut.layer).state_dict())
    return inherited


def starting_network(
    subject: Subject, protocol: Protocol, seed: int, source: SourceNetwork, analysis: Analysis
) -> Callable[[], nn.Module]:
    """Makes the network that a protocol starts from, iterative PFA's included."""
    if analysis.start and protocol.compressed and protocol.inherited:
        return analysis.start
    recipe = analysis.recipe if protocol.compressed else None
    return lambda: make_network(subject, protocol, seed, source, recipe)


def teacher_of(
    subject: Subject, source: SourceNetwork, teacher: SourceNetwork
) -> Callable[[], Teacher]:
    """Makes the network that a protocol follows, from the weights of its training."""
    settings = subject.task.settings

    def make() -> Teacher:
        network = make_network(subject, PROTOCOLS[TEACHER], TEACHER_SEED, source, None)
        put_weights(network, teacher.tensors, teacher.origin)
        return Teacher(network, settings.temperature, settings.distill_weight)

    return make
