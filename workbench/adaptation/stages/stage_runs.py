"""One stage after one training: its file, made and evaluated once and then recorded."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from torch import nn

from workbench.adaptation.stage_options import follows
from workbench.adaptation.stages.stage_start import rewind_to_start
from workbench.adaptation.stages.stage_work import stage_work
from workbench.adaptation.tasks.loaded_task import LoadedTask, subject_inputs
from workbench.adaptation.tasks.source_and_target import image_parts
from workbench.adaptation.tasks.source_network import model_parts
from workbench.adaptation.tasks.task import Task
from workbench.compression.narrow_networks import build_narrow, load_network
from workbench.compression.recipes.recipes import Recipe
from workbench.data.validation_split import validation_places
from workbench.deployment.file_evaluation import evaluate_file
from workbench.deployment.multi_exit import check_exits
from workbench.deployment.network_files import open_network
from workbench.deployment.quantisation.binary_training import inner_layers
from workbench.deployment.quantisation.kernel_clustered import check_kernels
from workbench.deployment.quantisation.mixed_bits import check_size
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_names import STAGES, Stage
from workbench.deployment.stage_types import TrainedNetwork
from workbench.deployment.stages import apply_stage, file_costs
from workbench.models.weight_files import Card, read_card
from workbench.store.jobs import Job
from workbench.store.keys import file_hash, key_of
from workbench.store.mlflow_models import Described, log_model
from workbench.store.recorder import Recorder
from workbench.store.run_tags import DROPPED, FILE, FINGERPRINT, HASH, KEPT, KEY, WEIGHTS
from workbench.store.runs import StoredRun
from workbench.store.stored_results import (
    HITS_FILE,
    RECIPE_FILE,
    STAGE_FILE,
    VALIDATION_HITS_FILE,
    hits_json,
)
from workbench.store.unfinished_work import WEIGHTS_FILE, correct_text
from workbench.training.evaluation import Evaluation
from workbench.training.predictions import PREDICTIONS_FILE
from workbench.training.protocols import PROTOCOLS, Protocol
from workbench.training.time_left import STAGE

#: Checks of networks that are not trained yet, by the stage.
_NETWORK_CHECKS: dict[str, Callable[[nn.Module, Card, DeploymentSettings], object]] = {
    "mixed": lambda network, card, settings: check_size(network, card, settings.mixed_size),
    "kernel-clustered": lambda network, card, _: check_kernels(network, card),
    "binary": lambda network, card, _: inner_layers(network, card),
    "multi-exit": check_exits,
}
#: Parameters of a training that its stages do not have.
_NOT_COPIED = ("device", "precision")


@dataclass(frozen=True)
class StageRun:
    """A recorded stage.

    Attributes:
        stage: name of the stage.
        origin: the run that trained the network.
        run: the run that holds the file.
    """

    stage: str
    origin: StoredRun
    run: StoredRun


def stage_key(loaded: LoadedTask, stage: Stage, origin: StoredRun) -> str:
    """Key of a stage after a training.

    Args:
        origin: the run that trained the network.
    """
    return key_of(
        "stage",
        {
            **loaded.data,
            **model_parts(loaded.task.model, loaded.task.source),
            **image_parts(loaded.task.source),
            "stage": stage.name,
            "options": loaded.task.settings.deployment.of_stage(stage.name),
            "weights": origin.tags[FINGERPRINT],
            "threads": loaded.processor.threads,
            # What the training started from, and how it trained, is part of its own key.
            **({"training": origin.tags[KEY]} if stage.rewinds else {}),
        },
    )


def run_stage(
    loaded: LoadedTask, stage: Stage, job: Job, origin: StoredRun, recorder: Recorder, parent: str
) -> StageRun | None:
    """Find the recorded file of a stage, or make, evaluate and record it.

    Args:
        job: the training of the network.
        origin: its run.
        parent: id of the parent of a new run.

    Returns:
        None if it is not recorded and the network's weights were not kept.

    Raises:
        WorkbenchError: when the file cannot be made.
    """
    key, say = stage_key(loaded, stage, origin), recorder.display.say
    title = f"{stage.name} · {origin.name}"
    with recorder.work.lock(key, lambda: say(f"{title}: another process makes it; waiting")):
        done = None if recorder.fresh else recorder.find(key)
        if done:
            return StageRun(stage.name, origin, done)
        weights = recorder.store.fetch(origin, WEIGHTS_FILE)
        if weights is None or origin.tags.get(WEIGHTS) == DROPPED:
            return None
        options = loaded.task.settings.deployment.of_stage(stage.name)
        params = {
            **{name: value for name, value in origin.params.items() if name not in _NOT_COPIED},
            **options,
            "stage": stage.name,
            "device": "cpu",
            "precision": stage.name,
        }
        run_id = recorder.open(key, "stage", title, params, parent)
        with recorder.closing(run_id), tempfile.TemporaryDirectory() as folder:
            recorder.store.log_inputs(run_id, subject_inputs(loaded))
            path = Path(folder) / f"network-{stage.name}{stage.suffix}"
            work = partial(stage_work, loaded, stage, origin.metrics["flops"], job.plan.epochs)
            with recorder.display.track(title, 1, work, STAGE):
                _make(loaded, stage, job, weights, path, origin, recorder, run_id)
        return StageRun(stage.name, origin, recorder.store.run(run_id))


def _make(
    loaded: LoadedTask,
    stage: Stage,
    job: Job,
    weights: Path,
    path: Path,
    origin: StoredRun,
    recorder: Recorder,
    run_id: str,
) -> None:
    """Make the file at ``path``, evaluate it and write everything to its run."""
    start, card = time.perf_counter(), read_card(weights)
    rewind = rewind_to_start(loaded, job) if stage.rewinds else None
    trained = TrainedNetwork(load_network(weights, card.model), card, loaded.train, rewind)
    report = apply_stage(stage.name, trained, loaded.task.settings.deployment, path)
    seconds = time.perf_counter() - start
    opened = open_network(path, card.model, loaded.processor.threads)
    found = evaluate_file(opened.run, loaded.test, card, path.name)
    own = file_costs(stage.name, path, card.model, loaded.test)
    store = recorder.store
    store.log(
        run_id,
        metrics={
            **_costs(stage, origin.metrics, own),
            **_accuracy(found, loaded.split),
            "file_bytes": path.stat().st_size,
            "stage_seconds": seconds,
        },
        tags={HASH: file_hash(path), FILE: path.name, WEIGHTS: KEPT},
    )
    recipe = store.fetch(origin, RECIPE_FILE)
    if recipe is not None:
        store.attach(run_id, recipe)
    store.attach_text(run_id, STAGE_FILE, json.dumps(asdict(report), indent=1))
    digest = loaded.data["test"]
    name = HITS_FILE if loaded.split == "test" else VALIDATION_HITS_FILE
    store.attach_text(run_id, name, hits_json(correct_text(found.correct), digest))
    if found.predictions is not None:
        answers = path.with_name(PREDICTIONS_FILE)
        found.predictions.write(answers)
        store.attach(run_id, answers)
    run = store.run(run_id)
    log_model(store, run.experiment, run_id, path, Described(card, run.params, run.metrics))


def _accuracy(found: Evaluation, split: str) -> dict[str, float]:
    return {
        f"{split}_accuracy": found.hits / found.images,
        f"{split}_hits": found.hits,
        f"{split}_images": found.images,
        f"{split}_top5_hits": found.top_hits,
    }


def _costs(
    stage: Stage, metrics: Mapping[str, float], own: Mapping[str, float]
) -> dict[str, float]:
    """The costs that the file shares with the trained network, and the training's time.

    Args:
        own: as ``stages.file_costs`` returns them, in place of the network's costs.
    """
    names = ["parameters", "footprint", "flops", "flops_ratio", "train_seconds", "train_loss"]
    if stage.runtime is None:  # it is computed as the float32 network is
        names += ["latency_ms", "latency_64_ms"]
    found = {name: metrics[name] for name in names if name in metrics}
    if not own:
        return found
    shares = {
        "flops": own["flops_share"],
        "flops_ratio": own["flops_share"],
        "parameters": own["parameters"] / found["parameters"],
        "footprint": own["parameters"] / found["parameters"],
        "latency_ms": own["latency_share"],
        "latency_64_ms": own["latency_64_share"],
    }
    changed = {name: found[name] * share for name, share in shares.items() if name in found}
    return {**own, **found, **changed}


def check_stages(loaded: LoadedTask, recipe: Recipe) -> None:
    """Check that every stage can be applied to networks of these widths, before any is trained.

    Raises:
        SettingsError: when ``--mixed-size`` or ``--exit-flops`` cannot be reached, or the network
            has too few places for exits, no kernels to share, or no layers to make binary.
        NetworkError: when it cannot have exits.
        DataError: when a class has too few training images for the thresholds of exits.
    """
    task, deployment = loaded.task, loaded.task.settings.deployment
    if not _NETWORK_CHECKS.keys() & set(deployment.stages):
        return
    if "multi-exit" in deployment.stages:
        validation_places(loaded.train, task.domain.classes, where=task.domain.name)
    compressed = {PROTOCOLS[name].compressed for name in task.protocols}
    small = [(recipe.widths, recipe.factors)] if True in compressed else []
    for widths, factors in small + [((), ())] * (False in compressed):
        card = Card.of(task.model, task.source, task.domain.classes, widths, factors=factors)
        network = build_narrow(card.model, card.shape, len(card.classes), widths, factors=factors)
        for name, check in _NETWORK_CHECKS.items():
            if name in deployment.stages:
                check(network, card, deployment)


def stages_after(task: Task, protocol: Protocol) -> list[Stage]:
    """The user's stages that are applied to the networks of a protocol."""
    stages = [STAGES[name] for name in task.settings.deployment.stages]
    return [stage for stage in stages if follows(stage, protocol)]
