"""The plan of each training of an adaptation, with its batch size and length resolved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.tasks.loaded_task import LoadedTask
from workbench.models.processor import Processor
from workbench.training.plans import LATER_OPTIONS, Plan, fit_to, stretch
from workbench.training.protocols import Protocol


def protocol_plan(loaded: LoadedTask, protocol: Protocol, analysis: Analysis | None) -> Plan:
    """The plan of a protocol's training; its batch size is at most the number of images.

    With iterative PFA, the epochs of its steps are subtracted from those of pfa-fine and
    pfa-distill. For equal compute, the epochs are multiplied by full FLOPs / compressed FLOPs.

    Args:
        analysis: the costs of both networks; needed for training with equal compute only.
    """
    task = loaded.task
    plan = fit_to(task.fine_plan if protocol.inherited else task.plan, len(loaded.train))
    if not protocol.compressed:
        plan = replace(plan, scale_dropout=False)
    if not protocol.trained:
        off: dict[str, Any] = dict.fromkeys(task.settings.training.regularisers, 0)
        return replace(plan, epochs=0, **off)
    if protocol.equal_compute:
        assert analysis is not None
        more = analysis.full.flops / analysis.compressed.flops
        return stretch(plan, max(1, round(plan.epochs * more)))
    if not (protocol.compressed and protocol.inherited) or task.settings.recipe.steps == 1:
        return plan
    share = step_plan(loaded)
    return stretch(plan, plan.epochs - (task.settings.recipe.steps - 1) * share.epochs)


def plan_params(plan: Plan, processor: Processor) -> dict[str, object]:
    """A training's settings as MLflow parameters."""
    return {
        "epochs": plan.epochs,
        "schedule": plan.schedule,
        "learning_rate": plan.learning_rate,
        "batch_size": plan.batch_size,
        "weight_decay": plan.weight_decay,
        "augment": plan.augment,
        **{name: value for name, value in plan.parts().items() if name in LATER_OPTIONS},
        "device": processor.device,
        "precision": processor.precision,
        "threads": processor.threads,
        "torch": torch.__version__,
    }


def repair_plan(loaded: LoadedTask) -> Plan:
    """The plan of the training on the source's images: that of fine-tuning, with its own length."""
    assert loaded.source_images is not None
    task = loaded.task
    plan = stretch(task.fine_plan, task.settings.training.repair_epochs)
    return fit_to(plan, len(loaded.source_images[0]))


def gate_plan(loaded: LoadedTask) -> Plan:
    """The plan of the training of gates: that of fine-tuning, with its own length.

    The weights are not averaged, because the average of a gate is not the gate that was trained.
    """
    task = loaded.task
    plan = replace(task.fine_plan, ema=0.0, scale_dropout=False)
    return fit_to(stretch(plan, task.gate_epochs), len(loaded.train))


def step_plan(loaded: LoadedTask) -> Plan:
    """The plan of the training between two steps: an equal share of the fine-tuning epochs."""
    task = loaded.task
    plan = fit_to(task.fine_plan, len(loaded.train))
    epochs = plan.epochs // task.settings.recipe.steps
    return replace(
        plan, epochs=epochs, decay_epoch=max(1, plan.decay_epoch // task.settings.recipe.steps)
    )
