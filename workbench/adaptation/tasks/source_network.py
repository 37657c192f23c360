"""The source network: its weights, and checks that it can be compressed."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from workbench.adaptation.tasks.source_and_target import knows_classes
from workbench.adaptation.tasks.source_task import SourceTask
from workbench.adaptation.tasks.task import Task
from workbench.compression.evidence.evidence import norm_scales
from workbench.compression.groups.structure import Structure
from workbench.compression.method_names import LABELLED, READS, reads
from workbench.compression.methods import FACTORISATIONS, network_slimming
from workbench.compression.narrow_networks import definition_of, structure_of
from workbench.compression.recipe_choice.factor_candidates import known_layers
from workbench.compression.recipes.layer_options import FixedLayer, left_out_layers
from workbench.data.catalog import Source
from workbench.errors import NetworkError, WeightsError
from workbench.models.external_networks import DEFAULT_WEIGHTS, pretrained
from workbench.models.networks import build_network, scaled_norms
from workbench.models.weight_files import has_card, put_weights, read_card, read_weights
from workbench.store.keys import weights_fingerprint
from workbench.training.gates.gated_network import check_gates
from workbench.training.scaled_dropout import has_dropout


@dataclass(frozen=True)
class SourceNetwork:
    """A trained source network.

    Attributes:
        tensors: its state dict, float32.
        origin: display name of its origin: a file name or a run id.
    """

    tensors: Mapping[str, Tensor]
    origin: str

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the tensors; it does not depend on the file that they were read from."""
        return weights_fingerprint(self.tensors)

    def build(self, task: Task) -> nn.Module:
        """Build the network with these weights.

        It has all classes of the source, or the target's classes if the source lacks some of them.

        Raises:
            WeightsError: when the tensors do not fit.
        """
        model = self.build_whole(task)
        if knows_classes(task.source, task.domain):
            return model
        classes = len(task.domain.classes)
        return with_new_classes(model, build_network(task.model, task.source.shape, classes))

    def build_whole(self, task: Task) -> nn.Module:
        """Build the network with these weights and all classes of the source.

        Raises:
            WeightsError: when the tensors do not fit.
        """
        model = build_network(task.model, task.source.shape, len(task.source.classes))
        put_weights(model, self.tensors, self.origin)
        return model


def with_new_classes(model: nn.Module, fresh: nn.Module) -> nn.Module:
    """A fresh network for other classes with the weights of all layers that have the same shape."""
    state = model.state_dict()
    fresh.load_state_dict(
        {
            name: state[name] if state[name].shape == value.shape else value
            for name, value in fresh.state_dict().items()
        }
    )
    return fresh


def source_structure(task: Task) -> Structure:
    """The filter groups of the source network.

    Raises:
        NetworkError: when the network cannot be compressed.
    """
    return structure_of(task.model, task.source.shape, len(task.source.classes))


def fixed_layers(task: Task) -> dict[str, FixedLayer]:
    """The filter groups that a recipe file, ``--only`` or ``--skip`` decides about, by name.

    For a method that factorises, they are layers.

    Raises:
        SettingsError: with one line for each name or count that does not fit the network.
    """
    structure, settings = source_structure(task), task.settings.recipe
    if task.recipe_file is not None:
        return task.recipe_file.fixed(structure)
    if settings.factorises:
        structure = factorable_layers(task)
    return left_out_layers(structure, settings.only, settings.skip)


def factorable_layers(task: Task) -> Structure:
    """The layers of the source network that the task's method can replace.

    Raises:
        NetworkError: when there is none.
    """
    kind = FACTORISATIONS[task.settings.recipe.method].kind
    layers = known_layers(task.model, task.source.shape, len(task.source.classes), kind)
    if layers.groups:
        return layers
    reasons = "; ".join(f"'{name}': {why}" for name, why in list(layers.uncompressed.items())[:3])
    raise NetworkError(
        f"{task.model}: --method {task.settings.recipe.method} can replace no layer ({reasons}); "
        "use another --method"
    )


def check_network(task: Task) -> None:
    """Check that the task's method can compress the network, before anything is trained.

    Raises:
        SettingsError: when a recipe file, ``--only`` or ``--skip`` does not fit the network.
        NetworkError: when the network cannot be compressed, has no batch norm whose scales the
            method needs, cannot have gates, or has no trained classifier for the target's classes.
    """
    structure, fixed = source_structure(task), fixed_layers(task)
    check_dropout(task)
    check_labels(task)
    if task.gates:
        network = build_network(task.model, task.source.shape, len(task.source.classes))
        check_gates(network, structure, task.source.shape)
    if not task.settings.recipe.reads_scales:
        return
    network = build_network(task.model, task.source.shape, len(task.source.classes))
    for group in structure.groups:
        if group.name in fixed and fixed[group.name].count == group.filters:
            continue
        if norm_scales(network, group) is None:
            raise NetworkError(network_slimming.no_scales(group.name))


def check_labels(task: Task, also_read: Set[str] = frozenset()) -> None:
    """Check that the analysed network can be scored on the target's labels, if a method does so.

    Args:
        also_read: what other methods read that will use the same evidence (``method_names.READS``).

    Raises:
        NetworkError: when the classifier was not trained on the target's classes.
    """
    options = task.recipe_options()
    if not (reads(options.recipe, options.selection) | also_read).intersection(LABELLED):
        return
    names = [name for name, items in READS.items() if set(items) & set(LABELLED)]
    what = f"{' and '.join(names)} need a classifier that knows the target's classes"
    if not knows_classes(task.source, task.domain):
        raise NetworkError(
            f"{what}, and {task.trained_on.name} does not have all classes of {task.domain.name}; "
            "use a method without labels, such as hrank, lamp or pfa-kl"
        )
    if task.settings.recipe.steps > 1 and task.settings.training.head == "new":
        raise NetworkError(
            f"{what}, and --head new with --steps begins with random rows; use --head slice"
        )


def check_dropout(task: Task) -> None:
    """Check that a network has dropouts if their rates are to be scaled.

    Raises:
        NetworkError: when it has none.
    """
    if not task.settings.training.scale_dropout:
        return
    if not has_dropout(build_network(task.model, task.source.shape, len(task.source.classes))):
        raise NetworkError(
            f"--scale-dropout has no effect: {task.model} has no dropout layers; leave it out"
        )


def check_penalty(task: SourceTask) -> None:
    """Check that a network has batch norms if their scales are to be penalised.

    Raises:
        NetworkError: when it has none.
    """
    if not task.plan.sparsity:
        return
    network = build_network(task.model, task.source.shape, len(task.source.classes))
    if not scaled_norms(network):
        raise NetworkError(
            f"--sparsity {task.plan.sparsity:g}: {task.model} has no batch norm with scales to "
            "penalise; leave it out"
        )


def model_parts(model: str, source: Source) -> dict[str, Any]:
    """The architecture's part of a key."""
    definition = definition_of(model, source.shape, len(source.classes))
    return {"model": model, **({} if definition is None else {"definition": definition})}


def given_weights(task: Task) -> SourceNetwork | None:
    """The source network from ``--weights``; None without this option.

    Raises:
        WeightsError: when the weights do not fit the architecture.
    """
    path = task.settings.what.weights
    if path is None:
        return None
    source = read_network(path, task.model, task.source)
    source.build(task)  # raises when the tensors do not fit
    return source


def read_network(path: Path, model: str, source: Source) -> SourceNetwork:
    """Read a weight file, or the weights that torchvision provides (``DEFAULT``).

    Raises:
        WeightsError: when the file is damaged, or its card names another model or other classes.
        NetworkError: when the model has no default weights or they cannot be downloaded.
    """
    if str(path) == DEFAULT_WEIGHTS:
        return SourceNetwork(pretrained(model), f"{model} (default weights)")
    tensors = read_weights(path)
    if has_card(path):
        card = read_card(path)
        if (card.model, card.classes) != (model, source.classes):
            raise WeightsError(
                f"{path}: contains a {card.model} for {len(card.classes)} classes of "
                f"{card.source}, not a {model} for all classes of {source.name}"
            )
    return SourceNetwork(tensors, path.name)
