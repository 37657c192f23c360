"""The steps of an adaptation, in the order in which they are executed.

``pipeline`` executes this list and ``dry_run`` shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from workbench.adaptation.tasks.task import Task
from workbench.errors import counted
from workbench.training.distillation_options import generation_seed
from workbench.training.protocols import PROTOCOLS, TEACHER, TEACHER_SEED, Protocol

Kind = Literal["source", "gates", "analysis", "repair", "teacher", "link", "protocol", "stage"]


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        kind: train the source network, train its gates, analyse the target, train the compressed
            network on the source's images, train a teacher, train a network of a chain of
            teachers, run a protocol, or apply a stage to one of its networks.
        title: its name on the screen.
        protocol: the protocol to run; None for the source and the analysis.
        seeds: the seeds to run it with; empty for the source and the analysis.
        generation: of a network of a chain of teachers; 0 is the assistant.
    """

    kind: Kind
    title: str
    protocol: Protocol | None = None
    seeds: Sequence[int] = ()
    generation: int = 0


def steps_of(task: Task) -> list[Step]:
    """The steps of an adaptation.

    Protocols with a teacher come after all others; the rest keep the user's order. If the chosen
    protocols and seeds do not include the teacher's training, it is a separate step.
    """
    steps = []
    if task.settings.what.weights is None:
        epochs = task.source_plan.epochs
        steps.append(
            Step("source", f"source training: {task.source.name}, {counted(epochs, 'epoch')}")
        )
    if task.gates:
        where = f"{task.domain.name}, {counted(task.gate_epochs, 'epoch')}"
        steps.append(Step("gates", f"gates ({task.gates}): {where}"))
    steps.append(Step("analysis", f"analysis: {task.settings.recipe.label}"))
    training = task.settings.training
    if training.repair_epochs:
        where = f"{task.trained_on.name}, {counted(training.repair_epochs, 'epoch')}"
        steps.append(Step("repair", f"repair: {where}"))
    names, seeds = task.protocols, training.seed_range
    taught = TEACHER in names and TEACHER_SEED in seeds
    if training.needs_full_fine and not taught:
        title = f"teacher: {TEACHER}, seed {TEACHER_SEED}"
        steps.append(Step("teacher", title, PROTOCOLS[TEACHER], (TEACHER_SEED,)))
    ordered = [name for name in names if not PROTOCOLS[name].distilled]
    distilled = [name for name in names if PROTOCOLS[name].distilled]
    # The untrained network is the same for all seeds: one is enough if the user did not choose it.
    implied = set(names) - set(training.protocols)
    steps += [
        Step("protocol", name, PROTOCOLS[name], seeds[:1] if name in implied else seeds)
        for name in ordered
    ]
    for name in distilled:
        steps += [*_chain_of(task, name), Step("protocol", name, PROTOCOLS[name], seeds)]
    return steps


def _chain_of(task: Task, name: str) -> list[Step]:
    """The trainings between the teacher and the last generation of a distilled protocol."""
    training, protocol = task.settings.training, PROTOCOLS[name]
    steps = []
    if training.assistant:
        title = f"teacher assistant: {name}, seed {TEACHER_SEED}"
        steps.append(Step("link", title, protocol, (TEACHER_SEED,)))
    for number in range(1, training.generations):
        seed = generation_seed(number)
        title = f"generation {number} of {training.generations}: {name}, seed {seed}"
        steps.append(Step("link", title, protocol, (seed,), number))
    return steps
