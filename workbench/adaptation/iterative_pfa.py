"""Iterative PFA: analyse, compress a part of the way, fine-tune, and again (method card).

Idea: a network that has lost some filters uses the others differently. Source paper, section 5
names this as likely better than one shot, and does not measure it.
Formula: of N steps, step s analyses the network as it is, and a group of w filters that the
method would narrow to k goes to ceil(w (k/w)^(1/(N-s+1))): an equal factor each step, all the
way in the last. Between two steps the network is fine-tuned on the target, with seed 0.
Cost: the protocol's epochs are divided among the steps, so pfa-fine trains as long as in one
shot; one more analysis a step.
When it does not help: with few epochs each part of the training is too short to recover; on
domains of two classes it was seen to end at chance.

The recipe that comes out is one of the full network, like any other, and pfa-scratch takes its
widths; pfa-fine goes on from the network that the steps left.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial

from torch import nn

from workbench.adaptation.analysis import analyse, compare_costs, decide, gather
from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.initial_networks import make_network
from workbench.adaptation.loaded_task import LoadedTask
from workbench.adaptation.source_network import SourceNetwork, source_structure
from workbench.adaptation.training_jobs import step_job
from workbench.compression.costs import Costs, count_costs
from workbench.compression.rebuild import rebuild
from workbench.compression.recipes import LayerRecipe, Recipe
from workbench.compression.tracing import find_structure
from workbench.models.weight_files import put_weights, read_weights
from workbench.store.recorder import Recorder
from workbench.store.unfinished_work import WEIGHTS_FILE
from workbench.training.protocols import PROTOCOLS

Kept = Mapping[str, tuple[int, ...]]


def iterate(
    loaded: LoadedTask, source: SourceNetwork, recorder: Recorder, parent: str | None
) -> Analysis:
    """The analysis that all steps together come to, measured once and recorded.

    Args:
        parent: id of the run that the steps' runs are put under.
    """
    walk = cache(partial(_walk, loaded, source, recorder, parent))
    analysis = analyse(loaded, source, recorder, parent, measure=lambda: walk()[0])
    return replace(analysis, start=lambda: copy.deepcopy(walk()[1]))


def _walk(
    loaded: LoadedTask, source: SourceNetwork, recorder: Recorder, parent: str | None
) -> tuple[Analysis, nn.Module]:
    """Go all steps; trainings that are recorded are taken from the store."""
    task, shape = loaded.task, loaded.task.source.shape
    full = make_network(loaded, PROTOCOLS["full-fine"], 0, source, None)
    network, origin = full, source.fingerprint
    kept: Kept = {g.name: tuple(range(g.filters)) for g in source_structure(task).groups}
    first: Recipe | None = None
    for step in range(1, task.settings.recipe.steps + 1):
        recipe = _recipe(loaded, network, count_costs(full, shape), recorder, step)
        first = first or recipe
        network = rebuild(network, recipe.kept, find_structure(network, shape))
        kept = {name: tuple(kept[name][i] for i in left) for name, left in recipe.kept.items()}
        if step < task.settings.recipe.steps:
            job = step_job(loaded, step, kept, origin, network)
            run, _ = recorder.train(job, parent, lambda outcome: True)
            weights = recorder.store.fetch(run, WEIGHTS_FILE)
            assert weights is not None  # the recorder returns whole runs only
            tensors = read_weights(weights)
            put_weights(network, tensors, job.title)
            origin = job.key
    assert first is not None
    composite = replace(first, layers=tuple(_whole(layer, kept) for layer in first.layers))
    costs = compare_costs(full, network, loaded)
    return Analysis(composite, *costs), network


def _recipe(
    loaded: LoadedTask, network: nn.Module, full: Costs, recorder: Recorder, step: int
) -> Recipe:
    """The recipe of one step, for the network as it is."""
    task = loaded.task
    structure = find_structure(network, task.source.shape)
    title = f"analysis · {task.domain.name} · step {step}"
    evidence = gather(loaded, network, structure, recorder.display, title)
    left = task.settings.recipe.steps - step + 1
    return decide(loaded, network, structure, evidence, full=full, steps_left=left)[0]


def _whole(layer: LayerRecipe, kept: Kept) -> LayerRecipe:
    """A line of the first step's recipe with the filters that all steps left."""
    return replace(layer, kept_indices=kept[layer.layer], wanted=len(kept[layer.layer]))
