"""What is adapted to what: a task with its images and processor, and the source network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workbench.catalog import Source
from workbench.compression.evidence import norm_scales
from workbench.compression.methods import network_slimming
from workbench.compression.shapes import definition_of, structure_of
from workbench.compression.structure import Structure
from workbench.data.feeds import ImageSet
from workbench.data.folder_images import Say
from workbench.data.location import data_folder
from workbench.errors import NetworkError, WeightsError
from workbench.keys import weights_fingerprint
from workbench.models.elsewhere import DEFAULT_WEIGHTS, pretrained
from workbench.models.networks import build_network, scaled_norms
from workbench.planning import SourceTask, Task
from workbench.processor import Processor
from workbench.runs import Input
from workbench.settings import Settings
from workbench.sources import image_parts, knows_classes, load_domain_images, shared_images
from workbench.training import fit_to
from workbench.weights import has_card, put_weights, read_card, read_weights


@dataclass(frozen=True)
class Subject:
    """A task with its data and processor.

    Attributes:
        train, test: the target's images; the test images are only evaluated on.
    """

    task: Task
    processor: Processor
    train: ImageSet
    test: ImageSet

    @cached_property
    def data(self) -> dict[str, Any]:
        """What the keys say of the data."""
        domain = self.task.domain
        return {
            "train": self.train.fingerprint(),
            "test": self.test.fingerprint(),
            "domain": domain.name,
            "source": domain.source,
            "classes": list(domain.classes),
            **_foreign_parts(self.task),
        }

    @property
    def class_rows(self) -> list[int]:
        """The source's labels of the target's classes."""
        return [self.task.source.classes.index(name) for name in self.task.domain.classes]


@dataclass(frozen=True)
class SourceNetwork:
    """A trained source network.

    Attributes:
        tensors: its state dict, float32.
        origin: where it came from, for people: a file's name or a run's id.
    """

    tensors: Mapping[str, Tensor]
    origin: str

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the tensors, whatever file they came in."""
        return weights_fingerprint(self.tensors)

    def build(self, task: Task) -> nn.Module:
        """The network with all classes of the source; with the target's where these are others.

        Raises:
            WeightsError: when the tensors do not fit.
        """
        model = build_network(task.model, task.source.shape, len(task.source.classes))
        put_weights(model, self.tensors, self.origin)
        return model if knows_classes(task.source, task.domain) else _with_new_classes(model, task)


def _with_new_classes(model: nn.Module, task: Task) -> nn.Module:
    """The network with the target's classes; what depends on their number is drawn anew."""
    fresh = build_network(task.model, task.source.shape, len(task.domain.classes))
    state = model.state_dict()
    fresh.load_state_dict(
        {
            name: state[name] if state[name].shape == value.shape else value
            for name, value in fresh.state_dict().items()
        }
    )
    return fresh


def _foreign_parts(task: Task) -> dict[str, Any]:
    """What a key says of images that are not of the set that the network was trained on."""
    if task.domain.folder is None and task.domain.source == task.trained_on.name:
        return {}
    return {"trained_on": task.trained_on.name, **image_parts(task.source)}


def source_structure(task: Task) -> Structure:
    """The filter groups of the source network.

    Raises:
        NetworkError: when it cannot be compressed.
    """
    return structure_of(task.model, task.source.shape, len(task.source.classes))


def check_network(task: Task) -> None:
    """See that the task's method can compress the network, before anything is trained.

    Raises:
        NetworkError: when it cannot be compressed, or lacks what the method reads.
    """
    structure = source_structure(task)
    if not task.settings.reads_scales:
        return
    network = build_network(task.model, task.source.shape, len(task.source.classes))
    for group in structure.groups:
        if norm_scales(network, group) is None:
            raise NetworkError(network_slimming.no_scales(group.name))


def check_penalty(task: SourceTask) -> None:
    """See that a penalty on batch norms' scales finds some.

    Raises:
        NetworkError: when the network has none.
    """
    if not task.plan.sparsity:
        return
    network = build_network(task.model, task.source.shape, len(task.source.classes))
    if not scaled_norms(network):
        raise NetworkError(
            f"--sparsity {task.plan.sparsity:g}: {task.model} has no batch norm whose scales could "
            "be penalised; leave it out"
        )


def model_parts(model: str, source: Source) -> dict[str, Any]:
    """What a key says of the architecture."""
    definition = definition_of(model, source.shape, len(source.classes))
    return {"model": model, **({} if definition is None else {"definition": definition})}


def head_rows(subject: Subject) -> dict[str, Sequence[int]]:
    """The classifier's rows of the target's classes, by the classifier's name.

    Nothing where these are others than the source's: the network was built with them.
    """
    if not knows_classes(subject.task.source, subject.task.domain):
        return {}
    return {source_structure(subject.task).classifier.name: subject.class_rows}


def given_weights(task: Task) -> SourceNetwork | None:
    """The source network of ``--weights``, checked against the architecture."""
    path = task.settings.weights
    if path is None:
        return None
    source = read_network(path, task.model, task.source)
    source.build(task)  # raises when the tensors do not fit
    return source


def read_network(path: Path, model: str, source: Source) -> SourceNetwork:
    """The tensors of a weight file, or of the model's own weights, for this source.

    Raises:
        WeightsError: when the file is damaged, or its card names another network.
    """
    if str(path) == DEFAULT_WEIGHTS:
        return SourceNetwork(pretrained(model), f"{model} (its own weights)")
    tensors = read_weights(path)
    if has_card(path):
        card = read_card(path)
        if (card.model, card.classes) != (model, source.classes):
            raise WeightsError(
                f"{path}: holds a {card.model} for {len(card.classes)} classes of {card.source}, "
                f"not a {model} for all classes of {source.name}"
            )
    return SourceNetwork(tensors, path.name)


def load_subject(task: Task, processor: Processor, say: Say = lambda line: None) -> Subject:
    """The target's images.

    Args:
        say: takes warnings.

    Raises:
        DataError: when they cannot be had, or a class has fewer than two training images.
    """
    folder = data_folder(task.settings.data_dir)
    mixed = shared_images(task.trained_on, task.domain)
    if mixed:
        say(
            f"warning: {mixed} test image(s) of {task.domain.name} are training images of "
            f"{task.trained_on.name}: accuracies will be too good; divide both alike, or name a "
            "folder with train/ and test/"
        )
    train, test = load_domain_images(task.domain, task.source, folder, task.settings.strict, say)
    return Subject(task, processor, train, test)


def settings_dict(
    task: Task, processor: Processor, subject: Subject | None = None
) -> dict[str, Any]:
    """All settings as they were resolved, as plain data.

    Args:
        subject: the same with its images, once they are read: fewer than the files of a folder
            where some are no images.
    """
    settings: Settings = task.settings
    images = len(subject.train) if subject else task.domain.images()[0]
    all_images = sum(task.source.train_images)
    foreign = _foreign_parts(task)
    return {
        "source": task.source.name,
        "target": task.domain.name,
        "classes": list(task.domain.classes),
        "model": task.model,
        "method": settings.method,
        "energy": task.energy,
        **settings.chosen_recipe(),
        "protocols": list(settings.protocols),
        "seeds": settings.seeds,
        **settings.extras(),
        "head": settings.head,
        "weights": settings.weights.name if settings.weights else None,
        "plan": fit_to(task.plan, images).parts(),
        "fine_plan": fit_to(task.fine_plan, images).parts(),
        "source_plan": None if settings.weights else fit_to(task.source_plan, all_images).parts(),
        "tolerance": settings.tolerance,
        "keep_weights": settings.keep_weights,
        **({"images": {"from": task.domain.source, **foreign}} if foreign else {}),
        **asdict(processor),
        "torch": torch.__version__,
    }


def subject_inputs(subject: Subject) -> list[Input]:
    """The target's splits as MLflow inputs."""
    domain = subject.task.domain
    return split_inputs(
        domain.name, domain.source, len(domain.classes), subject.train, subject.test, subject.data
    )


def split_inputs(
    name: str, source: str, classes: int, train: ImageSet, test: ImageSet, data: Mapping[str, Any]
) -> list[Input]:
    return [
        Input(f"{name} train", data["train"], source, len(train), classes, "training"),
        Input(f"{name} test", data["test"], source, len(test), classes, "test"),
    ]
