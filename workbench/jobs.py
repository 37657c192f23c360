"""What each training and analysis of an adaptation is: its network, its data, its key.

Pure assembly: nothing is trained or recorded here. A key holds what determines the result and
nothing else, so a full network is not trained again because the method changed, nor a scratch
one because the source weights did.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from workbench.analysis import Analysis, step_parts, step_plan
from workbench.data.feeds import ImageSet
from workbench.data.folder_images import sample_files
from workbench.folder_files import Folder
from workbench.keys import key_of
from workbench.models.networks import build_network
from workbench.planning import SourceTask
from workbench.processor import Processor
from workbench.protocols import Protocol
from workbench.recording import IMAGES_FILE, RECIPE_FILE, Job
from workbench.sources import image_parts
from workbench.starting import starting_network, teacher_of
from workbench.subject import (
    SourceNetwork,
    Subject,
    model_parts,
    read_network,
    settings_dict,
    split_inputs,
    subject_inputs,
)
from workbench.training import Plan, derive_seed, fit_to, stretch
from workbench.weights import Card, put_weights

LISTED_IMAGES = 32  # that a run remembers of a folder's test images
_SOURCE_CHECKPOINT, _PROTOCOL_CHECKPOINT = 0.0, 60.0  # seconds between two


def source_job(task: SourceTask, processor: Processor, train: ImageSet, test: ImageSet) -> Job:
    """The training of a source network on all its classes."""
    source, model, seed = task.source, task.model, task.seed
    plan = fit_to(task.plan, len(train))
    data = {"train": train.fingerprint(), "test": test.fingerprint(), "source": source.name}
    if source.folder:
        data |= image_parts(source)
    parts = {**data, **model_parts(model, source), "seed": seed, **_how(plan, processor)}
    start = read_network(task.weights, model, source) if task.weights else None
    if start:
        parts["start"] = start.fingerprint

    def make_model() -> nn.Module:
        weights = derive_seed(seed, "weights")
        network = build_network(model, source.shape, len(source.classes), seed=weights)
        if start:
            put_weights(network, start.tensors, start.origin)
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
        artifacts=image_list(source.folder),
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
    subject: Subject,
    protocol: Protocol,
    seed: int,
    source: SourceNetwork,
    analysis: Analysis,
    teacher: SourceNetwork | None = None,
) -> Job:
    """The training of one protocol with one seed.

    Args:
        teacher: the trained full network, for a protocol that follows one.
    """
    task = subject.task
    plan = protocol_plan(subject, protocol, analysis)
    recipe = analysis.recipe if protocol.compressed else None
    widths = recipe.widths if recipe else ()
    classes = task.domain.classes
    artifacts = {
        "settings.json": json.dumps(settings_dict(task, subject.processor, subject), indent=1),
        **image_list(task.domain.folder),
    }
    if recipe:
        artifacts[RECIPE_FILE] = recipe.to_json()
    return Job(
        key=protocol_key(
            subject,
            protocol,
            seed,
            source.fingerprint,
            analysis,
            teacher.fingerprint if teacher else "",
        ),
        kind="protocol",
        title=f"{protocol.name} · {task.domain.name} · seed {seed}",
        params={
            **_protocol_params(subject, protocol, seed, source.fingerprint),
            **plan_params(plan, subject.processor),
        },
        metrics=analysis.metrics(protocol),
        artifacts=artifacts,
        inputs=subject_inputs(subject),
        card=Card.of(task.model, task.source, classes, widths, images=task.domain.source),
        make_model=starting_network(subject, protocol, seed, source, analysis),
        plan=plan,
        seed=seed,
        train=subject.train,
        test=subject.test,
        source=task.source,
        checkpoint_every=_PROTOCOL_CHECKPOINT,
        make_teacher=teacher_of(subject, source, teacher) if teacher else None,
    )


def step_job(
    subject: Subject,
    step: int,
    kept: Mapping[str, Sequence[int]],
    origin: str,
    network: nn.Module,
) -> Job:
    """The training between two steps of iterative PFA.

    Args:
        step: its number, from 1.
        kept: by filter group, the filters of the full network that are left.
        origin: key of the training before, or fingerprint of the source weights.
        network: the compressed network that is trained.
    """
    task, plan = subject.task, step_plan(subject)
    parts = {
        **subject.data,
        **model_parts(task.model, task.source),
        "protocol": "step",
        "origin": origin,
        "recipe": {name: list(indices) for name, indices in kept.items()},
        "head": task.settings.head,
        **_how(plan, subject.processor),
    }
    widths = tuple(len(indices) for indices in kept.values())
    return Job(
        key=key_of("protocol", parts),
        kind="step",
        title=f"step {step} of {task.settings.steps} · {task.domain.name}",
        params={
            **task.params(),
            "protocol": "step",
            "step": step,
            "seed": 0,
            **plan_params(plan, subject.processor),
        },
        metrics={},
        artifacts={},
        inputs=subject_inputs(subject),
        card=Card.of(
            task.model, task.source, task.domain.classes, widths, images=task.domain.source
        ),
        make_model=lambda: copy.deepcopy(network),
        plan=plan,
        seed=0,
        train=subject.train,
        test=subject.test,
        source=task.source,
        checkpoint_every=_PROTOCOL_CHECKPOINT,
    )


def image_list(folder: Folder | None) -> dict[str, str]:
    """Where test images of a folder are, for ``workbench export``; nothing for known sets."""
    if folder is None:
        return {}
    files = [str(path.resolve()) for path in sample_files(folder, LISTED_IMAGES)]
    return {IMAGES_FILE: json.dumps(files, indent=1)}


def protocol_plan(subject: Subject, protocol: Protocol, analysis: Analysis | None) -> Plan:
    """The protocol's training, its batch size capped at the number of images.

    With iterative PFA the steps have had their share of pfa-fine's epochs already. Training for
    equal compute takes as many more epochs as an image takes fewer FLOPs.

    Args:
        analysis: the costs of both networks; only training for equal compute reads it.
    """
    task = subject.task
    plan = fit_to(task.fine_plan if protocol.inherited else task.plan, len(subject.train))
    if not protocol.trained:
        return replace(plan, epochs=0)
    if protocol.equal_compute:
        assert analysis is not None
        more = analysis.full.flops / analysis.compressed.flops
        return stretch(plan, max(1, round(plan.epochs * more)))
    if not (protocol.compressed and protocol.inherited) or task.settings.steps == 1:
        return plan
    share = step_plan(subject)
    return stretch(plan, plan.epochs - (task.settings.steps - 1) * share.epochs)


def protocol_key(
    subject: Subject,
    protocol: Protocol,
    seed: int,
    weights: str,
    analysis: Analysis | None,
    teacher: str = "",
) -> str:
    """Key of a protocol's training.

    Args:
        weights: fingerprint of the source weights.
        analysis: only compressed networks need it.
        teacher: fingerprint of the network that is followed.
    """
    recipe = analysis.recipe if analysis and protocol.compressed else None
    parts: dict[str, Any] = {
        **subject.data,
        **model_parts(subject.task.model, subject.task.source),
        "protocol": protocol.name,
        "seed": seed,
        **_how(protocol_plan(subject, protocol, analysis), subject.processor),
    }
    if protocol.inherited:
        parts |= {"weights": weights, "head": subject.task.settings.head}
    if protocol.inherited and protocol.compressed:
        parts |= step_parts(subject)
    if protocol.distilled:
        settings = subject.task.settings
        parts |= {
            "teacher": teacher,
            "temperature": settings.temperature,
            "distill_weight": settings.distill_weight,
        }
    if recipe:
        kept = {name: list(indices) for name, indices in recipe.kept.items()}
        parts["recipe"] = kept if protocol.inherited else list(recipe.widths)
    return key_of("protocol", parts)


def plan_params(plan: Plan, processor: Processor) -> dict[str, object]:
    """A training's settings as MLflow parameters."""
    return {
        "epochs": plan.epochs,
        "schedule": plan.schedule,
        "learning_rate": plan.learning_rate,
        "batch_size": plan.batch_size,
        "weight_decay": plan.weight_decay,
        "augment": plan.augment,
        **({"sparsity": plan.sparsity} if plan.sparsity else {}),
        "device": processor.device,
        "precision": processor.precision,
        "threads": processor.threads,
        "torch": torch.__version__,
    }


def _how(plan: Plan, processor: Processor) -> dict[str, Any]:
    return {"plan": plan.parts(), "processor": asdict(processor)}


def _protocol_params(
    subject: Subject, protocol: Protocol, seed: int, weights: str
) -> dict[str, object]:
    task = subject.task
    method = task.settings.method if protocol.compressed else "none"
    params: dict[str, object] = {
        "domain": task.domain.name,
        "protocol": protocol.name,
        "method": method,
        "seed": seed,
        "model": task.model,
        "source": task.source.name,
        "data": subject.data["train"][:12],
    }
    if protocol.compressed or protocol.inherited:
        params["source_weights"] = weights[:12]
    if protocol.compressed:
        params |= task.settings.chosen_recipe()
    if protocol.compressed and task.energy is not None:
        params["energy"] = task.energy
    if protocol.inherited:
        params["head"] = task.settings.head
    if protocol.distilled:
        params["temperature"] = task.settings.temperature
        params["distill_weight"] = task.settings.distill_weight
    return params
