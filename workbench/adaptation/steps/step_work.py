"""The work (FLOPs) of an adaptation's steps, for the estimate of the time left.

The work of a step is the sum over its seeds, and over the stages after them. Before the analysis,
the FLOPs of the compressed network are a guess, because its recipe is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from workbench.adaptation.settings import Settings
from workbench.adaptation.stages.stage_work import (
    VERDICT_WORK,
    NetworkSizes,
    latency_work,
    stage_work,
)
from workbench.adaptation.steps.recorded_steps import StepState
from workbench.adaptation.tasks.loaded_task import LoadedTask
from workbench.adaptation.tasks.task import Task, resolve
from workbench.compression.costs.costs import Costs, count_costs
from workbench.deployment.stage_names import STAGES
from workbench.models.networks import build_network
from workbench.training.protocols import PROTOCOLS, Protocol
from workbench.training.time_left import (
    ANALYSIS,
    STAGE,
    TRAINING,
    PlannedStep,
    pass_work,
    training_work,
)

_GUESS = 0.5  # share of the FLOPs that a method without a budget may keep


def guessed_sizes(task: Task) -> NetworkSizes:
    """The FLOPs, as far as they are known before the analysis."""
    form = task.trained_on
    whole = _costs(task.model, form.shape, len(form.classes))
    full = _costs(task.model, task.source.shape, len(task.domain.classes))
    share, budget = _GUESS, task.budget
    if budget is not None and not isinstance(budget.limit, str):
        if budget.option in ("footprint", "flops"):
            share = budget.limit
        elif budget.option == "params":
            share = budget.limit / full.parameters
    return NetworkSizes(whole.flops, full.flops, min(1.0, share) * full.flops)


@lru_cache(maxsize=64)
def _costs(model: str, shape: tuple[int, int, int], classes: int) -> Costs:
    return count_costs(build_network(model, shape, classes), shape)


def options_work(options: Mapping[str, Any], protocols: Sequence[str], seeds: int) -> float:
    """Work of the trainings of an adaptation with these options, before anything is looked up."""
    task = resolve(Settings.of(**options))
    sizes, images = guessed_sizes(task), task.domain.images()[0]
    trainings = (_protocol_work(task, PROTOCOLS[name], images, sizes) for name in protocols)
    return seeds * sum(trainings) + VERDICT_WORK


def planned_steps(
    loaded: LoadedTask, states: Sequence[StepState], sizes: NetworkSizes
) -> list[PlannedStep]:
    """The steps of ``states``, one for each entry of ``steps_of``, and one for the latencies."""
    planned: list[PlannedStep] = []
    before, links = None, 0.0
    for state in states:
        kind, work = _work(loaded, state, sizes)
        # The stages follow the training of their seed.
        if state.step.kind != "stage" and state.step is not before:
            before = state.step
            planned.append(PlannedStep(state.step.title, {TRAINING: links} if links else {}))
            links = 0.0
        if state.step.kind == "link" and state.run is None:  # the step after it trains it
            links = work + planned.pop().to_do
            planned.append(PlannedStep(state.step.title, {}))
            continue
        last = planned[-1]
        if state.run is not None:
            planned[-1] = PlannedStep(last.title, last.work, last.recorded + work)
        else:
            more = {**last.work, kind: last.work.get(kind, 0.0) + work}
            planned[-1] = PlannedStep(last.title, more, last.recorded)
    rest = latency_work(loaded.task, sizes) + VERDICT_WORK
    return [*planned, PlannedStep("verdict", {STAGE: rest})]


def _work(loaded: LoadedTask, state: StepState, sizes: NetworkSizes) -> tuple[str, float]:
    """Kind and work of one state."""
    task, step, images = loaded.task, state.step, len(loaded.train)
    if step.kind == "source":
        form = task.trained_on
        epochs = task.source_plan.epochs
        return TRAINING, training_work(sizes.source, sum(form.train_images), epochs)
    if step.kind == "gates":
        return TRAINING, training_work(sizes.full, images, task.gate_epochs)
    if step.kind == "analysis":
        return ANALYSIS, pass_work(sizes.full, images) * task.settings.recipe.steps
    if step.kind == "repair":
        learned = sum(task.trained_on.train_images)
        return TRAINING, training_work(sizes.small, learned, task.settings.training.repair_epochs)
    assert step.protocol is not None  # all other steps have one
    if step.kind == "stage":
        flops = sizes.small if step.protocol.compressed else sizes.full
        epochs = (task.fine_plan if step.protocol.inherited else task.plan).epochs
        return STAGE, stage_work(loaded, STAGES[state.stage], flops, epochs)
    return TRAINING, _protocol_work(task, step.protocol, images, sizes)


def _protocol_work(task: Task, protocol: Protocol, images: int, sizes: NetworkSizes) -> float:
    plan = task.fine_plan if protocol.inherited else task.plan
    flops = sizes.small if protocol.compressed else sizes.full
    if not protocol.trained:
        return training_work(flops, images, 0)
    # Training with equal compute has more epochs of a smaller network.
    own = sizes.full if protocol.equal_compute else flops
    return training_work(own, images, plan.epochs)
