"""A task with its images and its processor, and its settings as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import torch

from workbench.adaptation.settings import Settings
from workbench.adaptation.tasks.source_and_target import (
    image_parts,
    knows_classes,
    load_domain_images,
    load_source_images,
    shared_images,
)
from workbench.adaptation.tasks.source_network import source_structure
from workbench.adaptation.tasks.task import Task
from workbench.data.data_folder import data_folder
from workbench.data.folder_images import Say
from workbench.data.image_batches import ImageSet
from workbench.data.validation_split import split_validation, without
from workbench.models.processor import Processor
from workbench.store.runs import Input
from workbench.training.plans import fit_to


@dataclass(frozen=True)
class LoadedTask:
    """A task with its data and processor.

    Attributes:
        train, test: the target's images; the test images are used for evaluation only. With
            ``--validation``, both are parts of the training images.
        source_images: training and test images of the source, to repair a compressed network with
            ``--repair-epochs``; None without this option.
    """

    task: Task
    processor: Processor
    train: ImageSet
    test: ImageSet
    source_images: tuple[ImageSet, ImageSet] | None = None

    @cached_property
    def data(self) -> dict[str, Any]:
        """The data's part of every key."""
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
    def split(self) -> str:
        """What ``test`` holds: "test" or "validation" images."""
        return "test" if self.task.settings.what.validation is None else "validation"

    @property
    def class_rows(self) -> list[int]:
        """The source's labels for the target's classes."""
        return [self.task.source.classes.index(name) for name in self.task.domain.classes]


def _foreign_parts(task: Task) -> dict[str, Any]:
    """The part of a key for images from another set than the network was trained on."""
    if task.domain.folder is None and task.domain.source == task.trained_on.name:
        return {}
    return {"trained_on": task.trained_on.name, **image_parts(task.source)}


def head_rows(loaded: LoadedTask) -> dict[str, Sequence[int]]:
    """The classifier's rows for the target's classes, by the classifier's name.

    Empty where the source does not have all these classes: the network is then built with the
    target's classes.
    """
    if not knows_classes(loaded.task.source, loaded.task.domain):
        return {}
    return {source_structure(loaded.task).classifier.name: loaded.class_rows}


def load_task(task: Task, processor: Processor, say: Say = lambda line: None) -> LoadedTask:
    """Load the target's images, and divide them with ``--validation``.

    Args:
        say: called with each warning.

    Raises:
        DataError: when the images cannot be loaded, or a class has fewer than two training images.
    """
    folder = data_folder(task.settings.what.data_dir)
    mixed = shared_images(task.trained_on, task.domain)
    if mixed:
        say(
            f"warning: test images of {task.domain.name} are training images of "
            f"{task.trained_on.name} ({mixed:,}): accuracies will be too high; use the same split "
            "for both, or a folder with train/ and test/"
        )
    train, test = load_domain_images(
        task.domain, task.source, folder, task.settings.what.strict, say
    )
    share = task.settings.what.validation
    if share is not None:
        train, test = split_validation(train, task.domain.classes, share, where=task.domain.name)
    source_images = None
    if task.settings.training.repair_epochs:
        strict = task.settings.what.strict
        learned, tested = load_source_images(task.trained_on, folder, strict, say)
        # A repair must not see the images on which networks are compared.
        source_images = (learned if share is None else without(learned, test)), tested
    return LoadedTask(task, processor, train, test, source_images)


def with_images_of(
    task: Task, processor: Processor, every: Sequence[LoadedTask]
) -> LoadedTask | None:
    """The task with the images of another one that has the same; None if there is none."""
    same = (one for one in every if _images(one.task) == _images(task))
    found = next(same, None)
    if found is None:
        return None
    return LoadedTask(task, processor, found.train, found.test, found.source_images)


def _images(task: Task) -> tuple[object, ...]:
    """What determines the images of a task."""
    what, repaired = task.settings.what, task.settings.training.repair_epochs > 0
    split = (what.validation, what.strict, what.data_dir, repaired)
    return (*split, task.domain, task.source, task.trained_on)


def settings_dict(
    task: Task, processor: Processor, loaded: LoadedTask | None = None
) -> dict[str, Any]:
    """All resolved settings as plain data.

    Args:
        loaded: the task with its images, if they are loaded. A folder may have fewer images than
            files, because files that are not images are skipped.
    """
    settings: Settings = task.settings
    images = len(loaded.train) if loaded else task.domain.images()[0]
    all_images = sum(task.source.train_images)
    foreign = _foreign_parts(task)
    return {
        "source": task.source.name,
        "target": task.domain.name,
        "classes": list(task.domain.classes),
        "model": task.model,
        "method": settings.recipe.method,
        "energy": task.energy,
        **task.recipe_parts,
        "protocols": list(settings.training.protocols),
        "seeds": settings.training.seeds,
        **settings.training.extras(),
        "head": settings.training.head,
        "weights": settings.what.weights.name if settings.what.weights else None,
        "plan": fit_to(task.plan, images).parts(),
        "fine_plan": fit_to(task.fine_plan, images).parts(),
        "source_plan": None
        if settings.what.weights
        else fit_to(task.source_plan, all_images).parts(),
        "tolerance": settings.what.tolerance,
        **({} if settings.what.prefer == "speed" else {"prefer": settings.what.prefer}),
        **validation_parts(task),
        **settings.deployment.chosen(),
        "keep_weights": settings.record.keep_weights,
        **({"images": {"from": task.domain.source, **foreign}} if foreign else {}),
        **asdict(processor),
        "torch": torch.__version__,
    }


def validation_parts(task: Task) -> dict[str, float]:
    """The share of the validation images, for records; empty if networks are tested."""
    share = task.settings.what.validation
    return {} if share is None else {"validation": share}


def subject_inputs(loaded: LoadedTask) -> list[Input]:
    """The target's splits as MLflow inputs."""
    domain = loaded.task.domain
    train, test = split_inputs(
        domain.name, domain.source, len(domain.classes), loaded.train, loaded.test, loaded.data
    )
    return [train, replace(test, name=f"{domain.name} {loaded.split}", context=loaded.split)]


def split_inputs(
    name: str, source: str, classes: int, train: ImageSet, test: ImageSet, data: Mapping[str, Any]
) -> list[Input]:
    return [
        Input(f"{name} train", data["train"], source, len(train), classes, "training"),
        Input(f"{name} test", data["test"], source, len(test), classes, "test"),
    ]
