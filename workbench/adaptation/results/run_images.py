"""The images of a recorded run, loaded again from the options that are stored with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.adaptation.options.option_files import TYPES
from workbench.adaptation.options.recorded_options import read_run_options
from workbench.adaptation.settings import Settings
from workbench.adaptation.tasks.loaded_task import load_task
from workbench.adaptation.tasks.source_and_target import load_source_images
from workbench.adaptation.tasks.source_task import SourceSettings, resolve_source
from workbench.adaptation.tasks.task import resolve
from workbench.data.catalog import SOURCES
from workbench.data.data_folder import data_folder, is_present
from workbench.data.image_batches import ImageSet
from workbench.data.known_sets import load_images
from workbench.deployment.run_weights import Located
from workbench.errors import DataError, SettingsError, WorkbenchError
from workbench.models.processor import Processor
from workbench.models.weight_files import Card
from workbench.store.run_tags import KIND
from workbench.store.runs import StoredRun

_RECORD_ONLY = ("data_dir", "tracking_uri", "output", "fresh")


@dataclass(frozen=True)
class RunImages:
    """Training and test images of a network's classes.

    Attributes:
        domain: name of the domain, or of the data set.
        classes: names of the labels, in order.
        changed: whether the images differ from those that the run used.
        split: what ``test`` holds, "test" or "validation" images.
        white: value of a white pixel.
    """

    train: ImageSet
    test: ImageSet
    domain: str
    classes: tuple[str, ...]
    changed: bool = False
    split: str = "test"
    white: int = 255

    @property
    def test_name(self) -> str:
        """What the test images are, for messages."""
        changed = ", which have changed since the run" if self.changed else ""
        return f"{self.split} images of {self.domain}{changed}"


def find_images(
    located: Located, card: Card, data_dir: Path | None, tracking_uri: str | None
) -> RunImages | str:
    """The images of a run, or of the known data set that a weight file names.

    Args:
        located: the weight file, and its run if there is one.
        data_dir: folder of the data sets; the one that the run used when None.

    Returns:
        The images, or the reason why there are none here.
    """
    try:
        if located.run is not None:
            found = _images_of_run(located, located.run, data_dir, tracking_uri)
            if found is not None:
                return _checked(found, card, located.run)
        return _images_of_card(card, data_folder(data_dir))
    except WorkbenchError as error:
        return error.problems[0]


def _checked(found: RunImages, card: Card, run: StoredRun) -> RunImages:
    """Compare the images with those that the run used.

    Raises:
        DataError: when the domain has other classes by now.
    """
    if found.classes != card.classes:
        raise DataError(
            f"the domain {found.domain} now has other classes than the network: "
            f"{', '.join(found.classes)[:200]}"
        )
    used = run.params.get("data", "")  # the start of the training images' fingerprint
    tested = round(run.metrics.get(f"{run.split}_images", len(found.test)))
    changed = not found.train.fingerprint().startswith(used) or tested != len(found.test)
    return replace(found, changed=changed)


def _images_of_run(
    located: Located, run: StoredRun, data_dir: Path | None, tracking_uri: str | None
) -> RunImages | None:
    """The images that a run used; None for a run without recorded options."""
    command = "train" if run.tags.get(KIND) == "source" else "adapt"
    try:
        options = read_run_options(run.run_id, tracking_uri, TYPES[command], command)
    except SettingsError:
        return None
    asked = data_dir or options.get("data_dir")
    folder = data_folder(asked)
    if command == "train":
        own = {name: value for name, value in options.items() if name not in _RECORD_ONLY}
        task = resolve_source(SourceSettings(**own | {"weights": None}))
        if task.source.folder is None:
            _check_present(task.source.name, folder)
        images = load_source_images(task.source, folder, task.asked.strict, lambda line: None)
        return RunImages(*images, task.source.name, task.source.classes)
    # The weights of this run replace those of the source, which may be elsewhere by now.
    options |= {"weights": located.weights, "data_dir": asked}
    return _target_images(options, folder)


def find_target_images(
    run_id: str, data_dir: Path | None, tracking_uri: str | None
) -> RunImages | str:
    """The target's images of an adaptation, or the reason why there are none here."""
    try:
        options = read_run_options(run_id, tracking_uri, TYPES["adapt"], "adapt")
        options |= {"weights": None, "data_dir": data_dir or options.get("data_dir")}
        return _target_images(options, data_folder(options["data_dir"]))
    except WorkbenchError as error:
        return error.problems[0]


def _target_images(options: dict[str, Any], folder: Path) -> RunImages:
    # Only the target's images are needed.
    options = {**options, "source_epochs": None, "repair_epochs": 0}
    target = resolve(Settings.of(**options))
    if target.domain.folder is None:
        _check_present(target.domain.source, folder)
    loaded = load_task(target, Processor("cpu", "fp32", 1))
    names = (target.domain.name, target.domain.classes)
    white = target.source.white
    return RunImages(loaded.train, loaded.test, *names, split=loaded.split, white=white)


def _images_of_card(card: Card, folder: Path) -> RunImages:
    known = SOURCES.get(card.source)
    if known is None or known.shape != card.shape or not set(card.classes) <= set(known.classes):
        raise DataError(f"the images of {card.source} are not known here")
    _check_present(card.source, folder)
    train, test = (
        load_images(card.source, split, folder).of_classes(card.classes, card.source)
        for split in ("train", "test")
    )
    return RunImages(train, test, card.source, card.classes)


def _check_present(source: str, folder: Path) -> None:
    """Check that a known set is on this machine: an export downloads nothing."""
    if not is_present(source, folder):
        raise DataError(f"{folder} has no {source} images; name their folder by --data-dir")
