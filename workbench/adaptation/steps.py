"""The steps of an adaptation, in the order in which they are executed.

The list is made once: ``pipeline`` executes it and ``dry_run`` shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from workbench.adaptation.task import Task
from workbench.training.protocols import PROTOCOLS, TEACHER, TEACHER_SEED, Protocol

Kind = Literal["source", "analysis", "teacher", "protocol"]


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        kind: train the source network, analyse the target, train a teacher, or run a protocol.
        title: what it is called on the screen.
        protocol: that is run; None for the source and the analysis.
        seeds: with which it is run.
    """

    kind: Kind
    title: str
    protocol: Protocol | None = None
    seeds: Sequence[int] = ()


def steps_of(task: Task) -> list[Step]:
    """The steps of an adaptation.

    A protocol that follows a teacher comes after all others, in whatever order they were named;
    a teacher that no protocol trains has a step of its own.
    """
    steps = []
    if task.settings.what.weights is None:
        epochs = task.source_plan.epochs
        steps.append(Step("source", f"source training: {task.source.name}, {epochs} epochs"))
    steps.append(Step("analysis", f"analysis: {task.settings.recipe.method}"))
    training = task.settings.training
    names, seeds = task.protocols, training.seed_range
    taught = TEACHER in names and TEACHER_SEED in seeds
    if training.distils and not taught:
        title = f"teacher: {TEACHER}, seed {TEACHER_SEED}"
        steps.append(Step("teacher", title, PROTOCOLS[TEACHER], (TEACHER_SEED,)))
    ordered = sorted(names, key=lambda name: PROTOCOLS[name].distilled)
    # Untrained networks of all seeds are the same: one is enough where nobody asked for more.
    implied = set(names) - set(training.protocols)
    steps += [
        Step("protocol", name, PROTOCOLS[name], seeds[:1] if name in implied else seeds)
        for name in ordered
    ]
    return steps
