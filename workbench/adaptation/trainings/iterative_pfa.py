"""Iterative PFA: analyse, compress partly, fine-tune, and repeat (method card).

Idea: after some filters are removed, a network uses the others differently, so it is analysed
again. The paper (section 5) expects this to be better than one step, but does not measure it.
Formula: with N steps, step s analyses the current network. Where the method would reduce a group
of w filters to k, the step reduces it to ceil(w (k/w)^(1/(N-s+1))). This divides the reduction into
equal factors, and the last step reaches k. Between two steps the network is fine-tuned on the
target, with seed 0.
Cost: one analysis per step. The protocol's epochs are divided among the steps, so pfa-fine trains
as long as with one step.
When it does not help: with few epochs, each part of the training is too short to recover. On
domains of two classes, trainings have ended at chance accuracy.

The result is a recipe for the full network, as with any other method. pfa-scratch uses its widths;
pfa-fine starts from the network after the last step.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial

from torch import nn

from workbench.adaptation.analysis.analysis import analyse, compare_costs, decide, gather
from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.tasks.loaded_task import LoadedTask
from workbench.adaptation.tasks.source_network import SourceNetwork, source_structure
from workbench.adaptation.trainings.gate_runs import analyse_with_gates
from workbench.adaptation.trainings.initial_networks import make_network
from workbench.adaptation.trainings.training_jobs import step_job
from workbench.compression.costs.costs import Costs, count_costs
from workbench.compression.evidence.evidence import Evidence
from workbench.compression.groups.rebuild import rebuild
from workbench.compression.groups.tracing import find_structure
from workbench.compression.recipes.correlation_record import correlations_of
from workbench.compression.recipes.recipes import LayerRecipe, Recipe
from workbench.models.weight_files import put_weights, read_weights
from workbench.store.recorder import Recorder
from workbench.store.unfinished_work import WEIGHTS_FILE
from workbench.training.protocols import PROTOCOLS

Kept = Mapping[str, tuple[int, ...]]


def analyse_in_steps(
    loaded: LoadedTask, source: SourceNetwork, recorder: Recorder, parent: str | None
) -> Analysis:
    """Find or measure the analysis of a task: in one step, in the steps of ``--steps``, or with
    trained gates.

    Args:
        parent: id of the parent run of new runs.
    """
    if loaded.task.gates:
        return analyse_with_gates(loaded, source, recorder, parent)
    steps = loaded.task.settings.recipe.steps
    return (analyse if steps == 1 else iterate)(loaded, source, recorder, parent)


def iterate(
    loaded: LoadedTask, source: SourceNetwork, recorder: Recorder, parent: str | None
) -> Analysis:
    """Find the recorded analysis of all steps together, or execute the steps and record it.

    Args:
        parent: id of the parent run of the steps' runs.
    """
    walk = cache(partial(_walk, loaded, source, recorder, parent))
    analysis = analyse(loaded, source, recorder, parent, measure=lambda: walk()[0])
    return replace(analysis, start=lambda: copy.deepcopy(walk()[1]))


def _walk(
    loaded: LoadedTask, source: SourceNetwork, recorder: Recorder, parent: str | None
) -> tuple[Analysis, nn.Module]:
    """Execute all steps; trainings that are already recorded are reused."""
    task, shape = loaded.task, loaded.task.source.shape
    full = make_network(loaded, PROTOCOLS["full-fine"], 0, source, None)
    network, origin = full, source.fingerprint
    kept: Kept = {g.name: tuple(range(g.filters)) for g in source_structure(task).groups}
    first: Recipe | None = None
    seen: tuple[Evidence, ...] = ()
    for step in range(1, task.settings.recipe.steps + 1):
        recipe, evidence = _recipe(loaded, network, count_costs(full, shape), recorder, step)
        if first is None:
            first, seen = recipe, evidence
        network = rebuild(network, recipe.kept, find_structure(network, shape))
        kept = {name: tuple(kept[name][i] for i in left) for name, left in recipe.kept.items()}
        if step < task.settings.recipe.steps:
            job = step_job(loaded, step, kept, origin, network)
            run, _ = recorder.train(job, parent, lambda outcome: True)
            weights = recorder.store.fetch(run, WEIGHTS_FILE)
            assert weights is not None  # the recorder returns complete runs only
            tensors = read_weights(weights)
            put_weights(network, tensors, job.title)
            origin = job.key
    assert first is not None
    composite = replace(first, layers=tuple(_whole(layer, kept) for layer in first.layers))
    costs = compare_costs(full, network, loaded)
    correlations = correlations_of(seen, composite)
    return Analysis(composite, *costs, correlations=correlations), network


def _recipe(
    loaded: LoadedTask, network: nn.Module, full: Costs, recorder: Recorder, step: int
) -> tuple[Recipe, tuple[Evidence, ...]]:
    """The recipe of one step, for the current network, and its evidence."""
    task = loaded.task
    structure = find_structure(network, task.source.shape)
    title = f"analysis · {task.domain.name} · step {step}"
    evidence = gather(loaded, network, structure, recorder.display, title)
    left = task.settings.recipe.steps - step + 1
    recipe, _ = decide(loaded, network, structure, evidence, full=full, steps_left=left)
    return recipe, evidence


def _whole(layer: LayerRecipe, kept: Kept) -> LayerRecipe:
    """A layer of the first step's recipe with the filters that remain after all steps."""
    return replace(layer, kept_indices=kept[layer.layer], wanted=len(kept[layer.layer]))
