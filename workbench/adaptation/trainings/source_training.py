"""The training of a source network: by itself, or as the first step of an adaptation."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from workbench.adaptation.tasks.source_and_target import load_source_images
from workbench.adaptation.tasks.source_network import SourceNetwork, check_penalty
from workbench.adaptation.tasks.source_task import SourceSettings, SourceTask, resolve_source
from workbench.adaptation.tasks.task import Task
from workbench.adaptation.trainings.training_jobs import source_job
from workbench.data.data_folder import data_folder
from workbench.data.user_paths import check_new_file, user_path
from workbench.models.networks import build_network
from workbench.models.processor import Processor, resolve_processor
from workbench.models.weight_files import read_weights, save_tensors
from workbench.reporting.tables import percent
from workbench.store.jobs import Job
from workbench.store.recorder import Recorder, open_recorder
from workbench.store.runs import StoredRun
from workbench.store.unfinished_work import WEIGHTS_FILE, disk_errors
from workbench.training.progress import Display
from workbench.training.time_estimate import (
    LONG_SECONDS,
    SHORT_SOURCE,
    estimate_seconds,
    may_be_long,
    time_line,
)
from workbench.training.time_left import duration


def train(
    out: Path | str,
    *,
    display: Display | None = None,
    data_dir: Path | None = None,
    tracking_uri: str | None = None,
    output: Path | None = None,
    fresh: bool = False,
    **options: Any,
) -> float:
    """Train a source network by itself and save its weights.

    Args:
        out: safetensors file to write; it must not exist.
        display: shows progress and messages; None shows nothing.
        data_dir, tracking_uri, output, fresh: as on the command line.
        **options: the fields of ``source_task.SourceSettings``.

    Returns:
        Test accuracy on all classes of the source, in [0, 1].

    Raises:
        WorkbenchError: for every error that the user can fix; see ``workbench.errors``.
    """
    settings = SourceSettings(**options)
    task = resolve_source(settings)
    check_penalty(task)
    out = check_new_file(user_path(out), "--out")
    processor = resolve_processor(settings.device, settings.precision)
    display = display or Display()
    make_job = partial(_load_job, task, processor, data_folder(data_dir), display)
    job = make_job() if task.source.folder else None  # create no store for a bad folder
    recorder = open_recorder(task.source.name, processor, display, tracking_uri, output, fresh)
    job = job or make_job()
    _announce(task, job, recorder)
    run = _train_once(job, recorder)
    weights = recorder.store.fetch(run, WEIGHTS_FILE)
    assert weights is not None  # the recorder returns complete runs only
    with disk_errors(out.parent):
        # Write a new card: a run of an earlier version may lack some of its fields.
        save_tensors(read_weights(weights), out, job.card.metadata())
    return run.metrics["test_accuracy"]


def _announce(task: SourceTask, job: Job, recorder: Recorder) -> None:
    """Report how long the training will take if that is more than five minutes."""
    form = task.source
    network = build_network(task.model, form.shape, len(form.classes))
    if recorder.display.quiet or not may_be_long(network, form, len(job.train), job.plan):
        return
    if not recorder.fresh and recorder.find(job.key):
        return
    seconds = estimate_seconds(network, form, len(job.train), job.plan, recorder.processor)
    if seconds > LONG_SECONDS:
        each = seconds / job.plan.epochs
        recorder.display.say(time_line(seconds, f"{duration(each)} an epoch"))
        if job.plan.epochs > SHORT_SOURCE:
            recorder.display.say(
                f"quicker     --schedule one-cycle --epochs {SHORT_SOURCE}: about "
                f"{duration(each * SHORT_SOURCE)}"
            )


def train_source(task: Task, processor: Processor, recorder: Recorder) -> SourceNetwork:
    """The source network of an adaptation without ``--weights``.

    It is trained once and reused for all targets.
    """
    run = _train_once(job_of_source(task, processor, recorder.display), recorder)
    path = recorder.store.fetch(run, WEIGHTS_FILE)
    assert path is not None  # the recorder returns complete runs only
    return SourceNetwork(read_weights(path), run.run_id)


def job_of_source(task: Task, processor: Processor, display: Display) -> Job:
    """The training of the source network that an adaptation without ``--weights`` needs."""
    folder = data_folder(task.settings.what.data_dir)
    return _load_job(source_task_of(task), processor, folder, display)


def source_task_of(task: Task) -> SourceTask:
    """The training of the source network that an adaptation without ``--weights`` needs."""
    what, training = task.asked.what, task.asked.training
    asked = SourceSettings(
        source=what.source,
        model=what.model,
        image_size=what.image_size,
        strict=what.strict,
        epochs=training.source_epochs,
        schedule=training.schedule,
        sparsity=task.source_plan.sparsity,
        device=training.device,
        precision=training.precision,
    )
    return SourceTask(asked, task.trained_on, task.model, task.source_plan)


def _load_job(task: SourceTask, processor: Processor, folder: Path, display: Display) -> Job:
    train_images, test_images = load_source_images(
        task.source, folder, task.asked.strict, display.say
    )
    return source_job(task, processor, train_images, test_images)


def _train_once(job: Job, recorder: Recorder) -> StoredRun:
    """Train a source network, or find its recorded run, and report its accuracy."""
    run, trained = recorder.train(job, None, lambda outcome: True)
    accuracy = percent(run.metrics["test_accuracy"])
    how = "trained" if trained else "found in the store"
    recorder.display.say(f"source network: {how}, {accuracy} on all classes of {job.source.name}")
    return run
