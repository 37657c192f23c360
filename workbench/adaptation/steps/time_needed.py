"""The estimated time of an adaptation's trainings on this processor, and quicker options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from torch import nn

from workbench.adaptation.preparation import Call
from workbench.adaptation.steps.recorded_steps import StepState
from workbench.adaptation.tasks.task import Task
from workbench.data.catalog import Source
from workbench.models.networks import build_network
from workbench.training.time_estimate import (
    LONG_SECONDS,
    SHORT_SOURCE,
    estimate_seconds,
    may_be_long,
    time_line,
)
from workbench.training.time_left import duration


@dataclass(frozen=True)
class TimeNeeded:
    """Estimated seconds of the trainings to do; all 0 if they are surely under five minutes.

    Attributes:
        source: training of the source network.
        target: all trainings on the target together; compressed networks count as full ones.
        trainings: number of trainings on the target.
        short_source: training of the source with ``--schedule one-cycle --source-epochs 12``; 0 if
            that is not shorter.
    """

    source: float = 0.0
    target: float = 0.0
    trainings: int = 0
    short_source: float = 0.0

    @property
    def long(self) -> bool:
        """Whether the time is long enough to be reported before the trainings start."""
        return self.source + self.target > LONG_SECONDS


def may_take_long(call: Call) -> bool:
    """Whether all trainings together may take five minutes, judged by their FLOPs."""
    task = call.task
    training = task.settings.training
    epochs = task.plan.epochs * training.seeds * len(training.protocols)
    epochs += task.gate_epochs if task.gates else 0
    plan = replace(task.plan, epochs=epochs)
    network = _full_network(task)
    source = task.settings.what.weights is None and may_be_long(
        network, task.trained_on, sum(task.trained_on.train_images), task.source_plan
    )
    repair = replace(task.fine_plan, epochs=training.repair_epochs)
    source |= may_be_long(network, task.trained_on, sum(task.trained_on.train_images), repair)
    return source or may_be_long(network, task.source, task.domain.images()[0], plan)


def time_needed(call: Call, states: Sequence[StepState]) -> TimeNeeded:
    """Estimate the time: time a few steps of the full network and count the epochs to do.

    The timing takes seconds, so callers check ``may_take_long`` first.
    """
    task = call.task
    to_do = [state for state in states if state.run is None]
    an_image = _image_seconds(call)
    source = short = 0.0
    if any(state.step.kind == "source" for state in to_do):
        each = an_image(task.trained_on) * sum(task.trained_on.train_images)
        source, short = (each * epochs for epochs in (task.source_plan.epochs, SHORT_SOURCE))
    repair = any(state.step.kind == "repair" for state in to_do)
    epochs = [_epochs(task, state) for state in to_do if _is_trained(state)]
    epochs += [task.gate_epochs for state in to_do if state.step.kind == "gates"]
    target = an_image(task.source) * task.domain.images()[0] * sum(epochs) if epochs else 0.0
    if repair:
        images = sum(task.trained_on.train_images) * task.settings.training.repair_epochs
        target += an_image(task.trained_on) * images
    return TimeNeeded(source, target, len(epochs) + repair, short if short < source else 0.0)


def _image_seconds(call: Call) -> Callable[[Source], float]:
    """A function that returns the seconds of training per image; each form is timed once."""
    task = call.task
    plan = replace(task.plan, epochs=1)

    @cache
    def seconds(form: Source) -> float:
        images = plan.batch_size
        return estimate_seconds(_full_network(task), form, images, plan, call.processor) / images

    return seconds


def time_lines(needed: TimeNeeded) -> list[str]:
    """The estimate as lines of text, with quicker options."""
    if not needed.long:
        return ["time        less than five minutes of training on this processor"]
    parts = [f"source {duration(needed.source)}"] if needed.source else []
    if needed.target:
        many = "training" if needed.trainings == 1 else "trainings"
        parts.append(f"{needed.trainings} {many} at most {duration(needed.target)}")
    lines = [time_line(needed.source + needed.target, ", ".join(parts))]
    if needed.source > LONG_SECONDS:
        quicker = "--weights FILE with a trained source network"
        if needed.short_source:
            quicker += (
                f", or --schedule one-cycle --source-epochs {SHORT_SOURCE}: about "
                f"{duration(needed.short_source)} for the source"
            )
        lines.append(f"quicker     {quicker}")
    return lines


def _is_trained(state: StepState) -> bool:
    step = state.step
    return step.protocol is not None and step.protocol.trained and step.kind != "stage"


def _epochs(task: Task, state: StepState) -> int:
    protocol = state.step.protocol
    assert protocol is not None
    return (task.fine_plan if protocol.inherited else task.plan).epochs


def _full_network(task: Task) -> nn.Module:
    return build_network(task.model, task.trained_on.shape, len(task.trained_on.classes))
