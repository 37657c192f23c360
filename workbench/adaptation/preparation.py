"""Checks and loading before any training starts, cheapest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.adaptation.settings import Settings
from workbench.adaptation.stage_options import check_applied, skipped_networks
from workbench.adaptation.tasks.loaded_task import LoadedTask, load_task, with_images_of
from workbench.adaptation.tasks.smallest_network import check_smallest
from workbench.adaptation.tasks.source_network import SourceNetwork, check_network, given_weights
from workbench.adaptation.tasks.task import Task, resolve
from workbench.adaptation.trainings.teachers import check_objective
from workbench.data.data_folder import data_folder, is_present
from workbench.data.known_sets import load_images
from workbench.errors import SettingsError
from workbench.models.processor import Processor, resolve_processor
from workbench.store.recorder import Recorder, open_recorder
from workbench.training.progress import Display


@dataclass(frozen=True)
class Call:
    """The checked options of a call; the checks need no images and no store.

    Attributes:
        given: the source network from ``--weights``; None if it has to be trained.
    """

    task: Task
    processor: Processor
    given: SourceNetwork | None


@dataclass(frozen=True)
class Prepared:
    """A call with the target's images and an open store."""

    call: Call
    loaded: LoadedTask
    recorder: Recorder


def check_call(options: dict[str, Any], before: Sequence[Prepared] = ()) -> Call:
    """Check the options of ``adapt`` and read the source weights.

    Args:
        before: earlier calls of the same command, which may have read the same weights.

    Raises:
        WorkbenchError: for every error that the user can fix; see ``workbench.errors``.
    """
    task = resolve(Settings.of(**options))
    unused = check_applied(task.settings.deployment.stages, task.protocols)
    if unused:
        raise SettingsError(*unused)
    processor = resolve_processor(task.settings.training.device, task.settings.training.precision)
    check_network(task)
    check_objective(task)
    given = next(
        (one.call.given for one in before if _weights(one.call.task) == _weights(task)), None
    )
    return Call(task, processor, given or given_weights(task))


def _weights(task: Task) -> tuple[object, ...]:
    """What determines the source weights that are read."""
    return task.settings.what.weights, task.model, task.source


def prepare(
    options: dict[str, Any],
    display: Display,
    *,
    several_sizes: bool = False,
    before: Sequence[Prepared] = (),
) -> Prepared:
    """Check the options, load the images and open the store.

    Args:
        several_sizes: whether the budget is only one of several that are tried.
        before: earlier calls of the same command; equal images and weights are not read again.

    Raises:
        WorkbenchError: for every error that the user can fix; see ``workbench.errors``.
    """
    call = check_call(options, before)
    for line in notes(call.task) if not several_sizes else ():
        display.say(line)
    task, record = call.task, call.task.settings.record
    folder = data_folder(task.settings.what.data_dir)
    for name in task.known_sets:
        if not is_present(name, folder):
            load_images(name, "train", folder)  # create no store if this fails
    loaded = with_images_of(task, call.processor, [one.loaded for one in before])
    if loaded is None and task.domain.folder:
        # Load a folder before the store is created: its images may be unusable.
        loaded = load_task(task, call.processor, display.say)
    recorder = open_recorder(
        task.source.name,
        call.processor,
        display,
        record.tracking_uri,
        record.output,
        record.fresh,
    )
    return Prepared(call, loaded or load_task(task, call.processor), recorder)


def notes(task: Task) -> list[str]:
    """What the options cannot or will not do, in one line each.

    Raises:
        SettingsError: when no network is within the budget.
    """
    asked = task.settings.training.protocols  # the others are there for comparison
    return check_smallest(task) + skipped_networks(task.settings.deployment.stages, asked)
