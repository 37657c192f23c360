"""Repair: train a compressed network on the source's images before the target (method card).

Idea: a network with many filters removed needs training, and a small target has too few images for
it. The source has many images. The compressed network is trained on these, with all classes of the
source, before it is specialised.
Formula: the network that pfa-fine would start from, with all classes of the source, is trained for
N epochs on the source's training images and labels, with seed 0 and the plan of the fine-tuning
protocols (learning rate, batch size, schedule). Then its classifier is cut to the target's classes.
Cost: N epochs of the compressed network on all images of the source, once per recipe; all seeds of
pfa-fine and pfa-distill start from the same network.
When it does not help: with recipes that keep most of the network, where fine-tuning on the target
alone recovers, and where the source's images are very different from the target's. Comparisons with
full-fine are then no longer at equal compute.

Pruning with transfer from a larger set: arXiv 2311.06382.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

from torch import nn

from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.options.recorded_options import adaptation_options
from workbench.adaptation.plans.protocol_plans import plan_params, repair_plan
from workbench.adaptation.plans.run_keys import repair_key
from workbench.adaptation.tasks.loaded_task import LoadedTask, split_inputs
from workbench.adaptation.tasks.source_network import SourceNetwork
from workbench.adaptation.trainings.initial_networks import (
    starting_network,
    watched_network,
    with_own_dropout,
)
from workbench.compression.narrow_networks import build_narrow
from workbench.models.weight_files import Card, put_weights, read_weights
from workbench.store.jobs import Job
from workbench.store.recorder import Recorder
from workbench.store.stored_results import OPTIONS_FILE, RECIPE_FILE
from workbench.store.unfinished_work import WEIGHTS_FILE
from workbench.training.protocols import PROTOCOLS

_CHECKPOINT = 60.0  # seconds between two checkpoints


def repair(
    loaded: LoadedTask,
    source: SourceNetwork,
    analysis: Analysis,
    recorder: Recorder,
    parent: str | None,
) -> Analysis:
    """Train the repaired network, or find its recorded run.

    Args:
        parent: id of the parent of a new run.

    Returns:
        The analysis with the network that protocols with inherited weights start from.
    """
    job = repair_job(loaded, source, analysis)
    run, _ = recorder.train(job, parent, lambda outcome: True)
    path = recorder.store.fetch(run, WEIGHTS_FILE)
    assert path is not None  # the recorder returns complete runs only

    @cache
    def repaired() -> nn.Module:
        task, classes = loaded.task, len(loaded.task.source.classes)
        network = build_narrow(
            task.model,
            task.source.shape,
            classes,
            analysis.recipe.widths,
            factors=analysis.recipe.factors,
        )
        put_weights(network, read_weights(path), job.title)
        return network

    return replace(analysis, prepared=lambda: copy.deepcopy(repaired()))


def repair_job(loaded: LoadedTask, source: SourceNetwork, analysis: Analysis) -> Job:
    """The training of the compressed network on the source's images."""
    assert loaded.source_images is not None  # loaded with --repair-epochs
    task, plan, form = loaded.task, repair_plan(loaded), loaded.task.trained_on
    train, test = loaded.source_images
    data = {"train": train.fingerprint(), "test": test.fingerprint()}
    fine = PROTOCOLS["pfa-fine"]
    start = starting_network(loaded, fine, 0, source, analysis, all_classes=True)
    return Job(
        key=repair_key(loaded, source.fingerprint, analysis.recipe),
        kind="repair",
        title=f"repair on {form.name} · {task.domain.name}",
        params={
            **task.params(),
            "domain": form.name,
            "protocol": "repair",
            "seed": 0,
            "source_weights": source.fingerprint[:12],
            **plan_params(plan, loaded.processor),
        },
        metrics=analysis.metrics(fine),
        artifacts={
            OPTIONS_FILE: adaptation_options(task),
            RECIPE_FILE: analysis.recipe.to_json(),
        },
        inputs=split_inputs(form.name, form.name, len(form.classes), train, test, data),
        card=Card.of(
            task.model,
            form,
            form.classes,
            analysis.recipe.widths,
            factors=analysis.recipe.factors,
        ),
        make_model=watched_network(loaded, with_own_dropout(loaded, plan, start)),
        plan=plan,
        seed=0,
        train=train,
        test=test,
        source=form,
        checkpoint_every=_CHECKPOINT,
    )
