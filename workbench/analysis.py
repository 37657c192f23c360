"""The analysis of a target: its recipe and both networks' costs, measured once and recorded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from workbench.compression.choice import Candidate, choose, unrounded_costs
from workbench.compression.costs import Costs, count_costs, measure_latencies
from workbench.compression.evidence import Evidence, collect
from workbench.compression.methods import READS_ZEROS
from workbench.compression.rebuild import rebuild
from workbench.compression.recipes import Recipe
from workbench.compression.structure import Structure
from workbench.display import Display
from workbench.keys import file_hash, key_of
from workbench.models.networks import find_network
from workbench.planning import Task
from workbench.protocols import Protocol
from workbench.recording import HASH, RECIPE_FILE, SPECTRA_FILE, Recorder
from workbench.responses import measure_responses, measure_zeros
from workbench.runs import StoredRun
from workbench.subject import (
    SourceNetwork,
    Subject,
    head_rows,
    model_parts,
    source_structure,
    subject_inputs,
)
from workbench.training import Plan, fit_to
from workbench.weights import has_penalty

LATENCY_64 = "latency_64_ms"
#: Timed passes by images a pass: one of 64 images is long enough to be steady.
_ROUNDS = {1: 30, 64: 7}


@dataclass(frozen=True)
class Analysis:
    """What the analysis found.

    Attributes:
        recipe: how many and which filters each layer keeps.
        full, compressed: costs of both networks.
        measured: whether this call measured it; else it was found in the store.
        unrounded: costs before the widths were rounded to a multiple; None where they were not.
        start: of iterative PFA: makes the network that pfa-fine goes on from. None stands for
            the source's kept filters.
    """

    recipe: Recipe
    full: Costs
    compressed: Costs
    measured: bool = False
    unrounded: Costs | None = None
    start: Callable[[], nn.Module] | None = None

    def costs(self, protocol: Protocol) -> Costs:
        """Costs of the network that a protocol trains."""
        return self.compressed if protocol.compressed else self.full

    def metrics(self, protocol: Protocol) -> dict[str, float]:
        """The same as MLflow metrics, with the ratios to the full network."""
        return cost_metrics(self.costs(protocol), self.full)


def cost_metrics(costs: Costs, full: Costs) -> dict[str, float]:
    """Costs of a network and their ratios to the full one's, under the names of the store.

    Ratios and times are rounded: MLflow shows every digit that it is given.
    """
    known = {
        "parameters": costs.parameters,
        "footprint": round(costs.parameters / full.parameters, 6),
        "flops": costs.flops,
        "flops_ratio": round(costs.flops / full.flops, 6),
    }
    for name, latency in (("latency_ms", costs.latency_ms), (LATENCY_64, costs.latency_64_ms)):
        if latency is not None:
            known[name] = round(latency, 3)
    return known


def analysis_key(subject: Subject, weights: str) -> str:
    """Key of the analysis; its latencies make the processor part of it."""
    task = subject.task
    return key_of(
        "analysis",
        {
            **subject.data,
            **model_parts(task.model, task.source),
            "weights": weights,
            "method": task.settings.method,
            "energy": task.energy,
            "processor": asdict(subject.processor),
            **task.settings.chosen_recipe(),
            **step_parts(subject),
        },
    )


def find_analysis(
    subject: Subject, weights: str, recorder: Recorder
) -> tuple[StoredRun, Analysis] | None:
    """The analysis if it is recorded, and its run."""
    run = recorder.find(analysis_key(subject, weights))
    return (run, _fetch_analysis(run, recorder)) if run else None


def step_parts(subject: Subject) -> dict[str, Any]:
    """What a key says of iterative PFA; nothing of one shot."""
    task = subject.task
    if task.settings.steps == 1:
        return {}
    return {
        "steps": task.settings.steps,
        "step_plan": step_plan(subject).parts(),
        "head": task.settings.head,
    }


def step_plan(subject: Subject) -> Plan:
    """The training between two steps: an equal share of the fine protocols' epochs."""
    task = subject.task
    plan = fit_to(task.fine_plan, len(subject.train))
    epochs = plan.epochs // task.settings.steps
    return replace(plan, epochs=epochs, decay_epoch=max(1, plan.decay_epoch // task.settings.steps))


def analyse(
    subject: Subject,
    source: SourceNetwork,
    recorder: Recorder,
    parent: str | None,
    measure: Callable[[], Analysis] | None = None,
) -> Analysis:
    """The recipe and both networks' costs, measured once.

    Args:
        parent: id of the run that a new one is put under.
        measure: does the work; the source network's own analysis when None.
    """
    task, display = subject.task, recorder.display
    key = analysis_key(subject, source.fingerprint)
    with recorder.work.lock(key, lambda: display.say("another process analyses; waiting")):
        found = done = None if recorder.fresh else recorder.find(key)
        if done is None:
            params = {**task.params(), "protocol": "analysis"}
            run_id = recorder.open(
                key, "analysis", f"analysis · {task.domain.name}", params, parent
            )
            with recorder.closing(run_id):
                recorder.store.log_inputs(run_id, subject_inputs(subject)[:1])
                result = measure() if measure else _measure(subject, source, display)
                _record_analysis(result, recorder, run_id)
            done = recorder.store.run(run_id)
    analysis = replace(_fetch_analysis(done, recorder), measured=found is None)
    for layer in analysis.recipe.dead_layers:
        display.say(
            f"warning: no filter of layer {layer} responds to {task.domain.name}; it keeps 1"
        )
    for line in _remarks(analysis, task):
        display.say(line)
    return analysis


def _remarks(analysis: Analysis, task: Task) -> list[str]:
    """A warning of unsuited scales, and what a budget and a rounding came to."""
    lines = []
    weights = task.settings.weights
    if task.settings.reads_scales and weights and not has_penalty(weights):
        penalty = find_network(task.model).schedule.sparsity
        lines.append(
            f"warning: network-slimming: {weights} does not say that its scales were penalised in "
            f"training, which the method asks for; try 'workbench train --sparsity {penalty:g}'"
        )
    if task.budget and analysis.recipe.threshold is not None:
        name = "an energy" if task.settings.method == "pfa-en" else "a threshold"
        lines.append(
            f"{task.budget}: {task.settings.method} at {name} of {analysis.recipe.threshold:.6g}"
        )
    if analysis.unrounded:
        more = [
            100 * (rounded / plain - 1)
            for rounded, plain in (
                (analysis.compressed.parameters, analysis.unrounded.parameters),
                (analysis.compressed.flops, analysis.unrounded.flops),
            )
        ]
        lines.append(
            f"--multiple-of {task.settings.multiple_of}: {more[0]:+.1f} % parameters, "
            f"{more[1]:+.1f} % FLOPs"
        )
    return lines


def _measure(subject: Subject, source: SourceNetwork, display: Display) -> Analysis:
    task = subject.task
    model = source.build(task)
    structure = source_structure(task)
    evidence = gather(subject, model, structure, display, f"analysis · {task.domain.name}")
    full = rebuild(model, head_rows(subject), structure)
    recipe, unrounded = decide(subject, full, structure, evidence)
    small = rebuild(full, recipe.kept, structure)
    return Analysis(recipe, *compare_costs(full, small, subject), unrounded=unrounded)


def gather(
    subject: Subject, network: nn.Module, structure: Structure, display: Display, title: str
) -> tuple[Evidence, ...]:
    """What the task's method has to know of every filter group, on the target's images."""
    task, options = subject.task, subject.task.recipe_options()
    looks = (structure.groups, subject.train, task.source, subject.processor.torch_device)
    with display.track(title, len(subject.train)) as advance:
        moments = measure_responses(network, *looks, lambda seen: advance(seen, "images"))
    silent = READS_ZEROS & {options.recipe, options.selection}
    zeros = measure_zeros(network, *looks) if silent else None
    return collect(network, moments, structure, zeros)


def decide(
    subject: Subject,
    network: nn.Module,
    structure: Structure,
    evidence: Sequence[Evidence],
    *,
    full: Costs | None = None,
    steps_left: int = 1,
) -> tuple[Recipe, Costs | None]:
    """The recipe that the task asks for, and its costs before rounding if it is rounded.

    Args:
        network: what is narrowed, with the target's classes.
        structure: its filter groups.
        evidence: what is known of them.
        full: costs that shares of a budget are shares of; the network's own when None.
        steps_left: of iterative PFA.

    Raises:
        SettingsError: when no network is within the budget.
    """
    task, shape = subject.task, subject.task.source.shape
    options = replace(task.recipe_options(), steps_left=steps_left)
    candidate = Candidate(
        network,
        structure,
        shape,
        subject.processor.torch_device,
        full or count_costs(network, shape),
    )
    recipe = choose(candidate, evidence, options, task.budget)
    rounded = task.settings.multiple_of > 1
    return recipe, unrounded_costs(candidate, evidence, options, recipe) if rounded else None


def compare_costs(full: nn.Module, small: nn.Module, subject: Subject) -> tuple[Costs, Costs]:
    """Costs of the full and the compressed network, their latencies measured in turns."""
    shape = subject.task.source.shape
    networks, device = (full, small), subject.processor.torch_device
    one, many = (
        measure_latencies(networks, shape, device, batch_size=images, rounds=rounds)
        for images, rounds in _ROUNDS.items()
    )
    full_costs, small_costs = (
        replace(count_costs(network, shape), latency_ms=one[place], latency_64_ms=many[place])
        for place, network in enumerate(networks)
    )
    return full_costs, small_costs


def _record_analysis(analysis: Analysis, recorder: Recorder, run_id: str) -> None:
    store, recipe = recorder.store, analysis.recipe
    metrics = cost_metrics(analysis.compressed, analysis.full)
    full = cost_metrics(analysis.full, analysis.full)
    names = ("parameters", "flops", "latency_ms", LATENCY_64)
    metrics |= {f"full_{name}": full[name] for name in names}
    if analysis.unrounded:
        metrics["unrounded_parameters"] = analysis.unrounded.parameters
        metrics["unrounded_flops"] = analysis.unrounded.flops
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / RECIPE_FILE
        path.write_text(recipe.to_json())
        store.log(run_id, metrics=metrics, tags={HASH: file_hash(path)})
        store.attach(run_id, path)
    store.attach_text(run_id, SPECTRA_FILE, recipe.spectra_json())


def _fetch_analysis(run: StoredRun, recorder: Recorder) -> Analysis:
    texts = [recorder.store.fetch(run, name) for name in (RECIPE_FILE, SPECTRA_FILE)]
    recipe = Recipe.from_json(*(path.read_text() for path in texts if path))
    full, small = (
        Costs(
            round(run.metrics[f"{prefix}parameters"]),
            round(run.metrics[f"{prefix}flops"]),
            run.metrics[f"{prefix}latency_ms"],
            run.metrics.get(f"{prefix}{LATENCY_64}"),  # absent from the first recorded runs
        )
        for prefix in ("full_", "")
    )
    unrounded = None
    if "unrounded_parameters" in run.metrics:
        counts = (run.metrics["unrounded_parameters"], run.metrics["unrounded_flops"])
        unrounded = Costs(*(round(number) for number in counts))
    return Analysis(recipe, full, small, unrounded=unrounded)
