"""The jobs of an adaptation: for each training its network, data, plan and key.

Jobs are only assembled here; nothing is trained or recorded. A key contains only what determines
the result (``run_keys``). A full network is therefore not trained again when the method changes,
nor a network from scratch when the source weights change.

Every network is made with a watch on its layers (``compression.groups.watched_layers``), so
trainings and evaluations need no code for it: a network whose path depends on its images raises
NetworkError.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.options.recorded_options import (
    adaptation_options,
    recorded_inputs,
    source_options,
)
from workbench.adaptation.plans.protocol_plans import plan_params, protocol_plan, step_plan
from workbench.adaptation.plans.run_keys import _how, protocol_key
from workbench.adaptation.tasks.loaded_task import (
    LoadedTask,
    settings_dict,
    split_inputs,
    subject_inputs,
    validation_parts,
)
from workbench.adaptation.tasks.source_and_target import image_parts
from workbench.adaptation.tasks.source_network import SourceNetwork, model_parts, read_network
from workbench.adaptation.tasks.source_task import SourceTask
from workbench.adaptation.tasks.task import Task
from workbench.adaptation.trainings.initial_networks import (
    starting_network,
    watched_network,
    with_own_dropout,
)
from workbench.adaptation.trainings.teachers import TrainedTeacher, taught_job
from workbench.compression.groups.forward_path import path_on_noise
from workbench.compression.groups.watched_layers import watch
from workbench.compression.recipes.recipes import Recipe
from workbench.data.image_batches import ImageSet
from workbench.models.networks import build_network
from workbench.models.processor import Processor
from workbench.models.weight_files import Card, put_weights
from workbench.store.jobs import Job
from workbench.store.keys import key_of
from workbench.store.stored_results import OPTIONS_FILE, RECIPE_FILE
from workbench.training.distillation_options import SOFT_TARGETS
from workbench.training.plans import derive_seed, fit_to
from workbench.training.protocols import Protocol

_SOURCE_CHECKPOINT, _PROTOCOL_CHECKPOINT = 0.0, 60.0  # seconds between two checkpoints


def source_job(task: SourceTask, processor: Processor, train: ImageSet, test: ImageSet) -> Job:
    """The training of a source network on all its classes."""
    source, model, seed = task.source, task.model, task.asked.seed
    plan = fit_to(task.plan, len(train))
    data = {"train": train.fingerprint(), "test": test.fingerprint(), "source": source.name}
    if source.folder:
        data |= image_parts(source)
    parts = {**data, **model_parts(model, source), "seed": seed, **_how(plan, processor)}
    start = read_network(task.asked.weights, model, source) if task.asked.weights else None
    if start:
        parts["start"] = start.fingerprint

    def make_model() -> nn.Module:
        weights = derive_seed(seed, "weights")
        network = build_network(model, source.shape, len(source.classes), seed=weights)
        if start:
            put_weights(network, start.tensors, start.origin)
        watch(network, path_on_noise(network, source.shape))
        return network

    key = key_of("source", parts)
    return Job(
        key=key,
        kind="source",
        title=f"source · {source.name} · {model}",
        params={
            "domain": source.name,
            "source": source.name,
            "model": model,
            "protocol": "source",
            "method": "none",
            "seed": seed,
            **plan_params(plan, processor),
        },
        metrics={},
        artifacts={OPTIONS_FILE: source_options(task)},
        inputs=split_inputs(source.name, source.name, len(source.classes), train, test, data),
        card=replace(Card.of(model, source, source.classes), sparsity=plan.sparsity),
        make_model=make_model,
        plan=plan,
        seed=seed,
        train=train,
        test=test,
        source=source,
        checkpoint_every=_SOURCE_CHECKPOINT,
    )


def protocol_job(
    loaded: LoadedTask,
    protocol: Protocol,
    seed: int,
    source: SourceNetwork,
    analysis: Analysis,
    teacher: TrainedTeacher | None = None,
) -> Job:
    """The training of one protocol with one seed.

    Args:
        teacher: teaches the network; None for a protocol without a teacher.
    """
    task = loaded.task
    start = starting_network(
        loaded,
        protocol,
        seed,
        source,
        analysis,
        all_classes=teacher is not None and teacher.knows_all_classes,
    )
    plan = protocol_plan(loaded, protocol, analysis)
    recipe = analysis.recipe if protocol.compressed else None
    job = Job(
        key=protocol_key(
            loaded,
            protocol,
            seed,
            source.fingerprint,
            analysis,
            *((teacher.weights.fingerprint, teacher.kind) if teacher else ()),
        ),
        kind="protocol",
        title=f"{protocol.name} · {task.domain.name} · seed {seed}",
        params={
            **_protocol_params(loaded, protocol, seed, source.fingerprint),
            **(teacher.params() if teacher else {}),
            **plan_params(plan, loaded.processor),
        },
        metrics=analysis.metrics(protocol),
        artifacts=_protocol_artifacts(loaded, protocol, seed, recipe, teacher),
        inputs=subject_inputs(loaded),
        card=Card.of(
            task.model,
            task.source,
            task.domain.classes,
            recipe.widths if recipe else (),
            images=task.domain.source,
            factors=recipe.factors if recipe else (),
        ),
        make_model=watched_network(loaded, with_own_dropout(loaded, plan, start)),
        plan=plan,
        seed=seed,
        train=loaded.train,
        test=loaded.test,
        source=task.source,
        checkpoint_every=_PROTOCOL_CHECKPOINT,
        split=loaded.split,
    )
    return taught_job(job, loaded, source, analysis, teacher) if teacher else job


def _protocol_artifacts(
    loaded: LoadedTask,
    protocol: Protocol,
    seed: int,
    recipe: Recipe | None,
    teacher: TrainedTeacher | None,
) -> dict[str, str]:
    """The texts beside the weights: settings, the options that repeat the training, the recipe."""
    task = loaded.task
    options = adaptation_options(
        task,
        **_own_options(task, protocol),
        seeds=1,
        first_seed=seed,
        **({"generations": teacher.generation} if teacher else {}),
    )
    return {
        **recorded_inputs(task),
        "settings.json": json.dumps(settings_dict(task, loaded.processor, loaded), indent=1),
        OPTIONS_FILE: options,
        **({RECIPE_FILE: recipe.to_json()} if recipe else {}),
    }


def _own_options(task: Task, protocol: Protocol) -> dict[str, Any]:
    """Options that repeat one protocol by itself, without those that would have no effect."""
    scaled = task.asked.training.scale_dropout and protocol.compressed
    repaired = task.asked.training.repair_epochs if _is_repaired(protocol) else 0
    return {
        "protocols": (protocol.name,),
        "scale_dropout": scaled,
        "repair_epochs": repaired,
        "sync_batch_norm": task.asked.training.sync_batch_norm or not protocol.trained,
    }


def _is_repaired(protocol: Protocol) -> bool:
    return protocol.compressed and protocol.inherited


def step_job(
    loaded: LoadedTask,
    step: int,
    kept: Mapping[str, Sequence[int]],
    origin: str,
    network: nn.Module,
) -> Job:
    """The training between two steps of iterative PFA.

    Args:
        step: number of the step, from 1.
        kept: the remaining filters of the full network, by filter group.
        origin: key of the previous training, or fingerprint of the source weights.
        network: the compressed network to train.
    """
    task, plan = loaded.task, step_plan(loaded)
    parts = {
        **loaded.data,
        **model_parts(task.model, task.source),
        "protocol": "step",
        "origin": origin,
        "recipe": {name: list(indices) for name, indices in kept.items()},
        "head": task.settings.training.head,
        **_how(plan, loaded.processor),
    }
    widths = tuple(len(indices) for indices in kept.values())
    return Job(
        key=key_of("protocol", parts),
        kind="step",
        title=f"step {step} of {task.settings.recipe.steps} · {task.domain.name}",
        params={
            **task.params(),
            "protocol": "step",
            "step": step,
            "seed": 0,
            **plan_params(plan, loaded.processor),
        },
        metrics={},
        artifacts={OPTIONS_FILE: adaptation_options(task), **recorded_inputs(task)},
        inputs=subject_inputs(loaded),
        card=Card.of(
            task.model, task.source, task.domain.classes, widths, images=task.domain.source
        ),
        make_model=watched_network(
            loaded, with_own_dropout(loaded, plan, lambda: copy.deepcopy(network))
        ),
        plan=plan,
        seed=0,
        train=loaded.train,
        test=loaded.test,
        source=task.source,
        checkpoint_every=_PROTOCOL_CHECKPOINT,
        split=loaded.split,
    )


def _protocol_params(
    loaded: LoadedTask, protocol: Protocol, seed: int, weights: str
) -> dict[str, object]:
    task = loaded.task
    method = task.settings.recipe.method if protocol.compressed else "none"
    params: dict[str, object] = {
        "domain": task.domain.name,
        "protocol": protocol.name,
        "method": method,
        "seed": seed,
        "model": task.model,
        "source": task.source.name,
        "data": loaded.data["train"][:12],
        **validation_parts(task),
    }
    if protocol.compressed or protocol.inherited:
        params["source_weights"] = weights[:12]
    if protocol.compressed:
        params |= task.network_parts(inherited=protocol.inherited)
    if protocol.compressed and task.gates:
        params |= task.settings.training.gate_options
    if protocol.compressed and task.energy is not None:
        params["energy"] = task.energy
    if protocol.inherited:
        params["head"] = task.settings.training.head
    if _is_repaired(protocol) and task.settings.training.repair_epochs:
        params["repair_epochs"] = task.settings.training.repair_epochs
    if protocol.distilled:
        params["temperature"] = task.settings.training.temperature
        params["distill_weight"] = task.settings.training.distill_weight
        if task.settings.training.objective != SOFT_TARGETS:
            params["objective"] = task.settings.training.objective
    return params
