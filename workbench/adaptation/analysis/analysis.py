"""The analysis of a target: the recipe and the costs of both networks, measured and recorded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from workbench.adaptation.analysis.analysis_remarks import analysis_remarks
from workbench.adaptation.analysis.budget_latency import budget_latency
from workbench.adaptation.analysis.compensated_start import (
    Start,
    compensated_start,
    stored_compensation,
)
from workbench.adaptation.analysis.factorised_network import factorised, factorised_start
from workbench.adaptation.analysis_result import LATENCY_64, Analysis, cost_metrics
from workbench.adaptation.options.recorded_options import adaptation_options, recorded_inputs
from workbench.adaptation.plans.run_keys import analysis_key
from workbench.adaptation.tasks.loaded_task import LoadedTask, head_rows, subject_inputs
from workbench.adaptation.tasks.source_network import (
    SourceNetwork,
    check_labels,
    fixed_layers,
    source_structure,
)
from workbench.compression.costs.costs import Costs, count_costs, measure_latencies
from workbench.compression.costs.filter_prices import with_prices
from workbench.compression.evidence.evidence import Array, Evidence, collect
from workbench.compression.evidence.responses import measure_responses
from workbench.compression.groups.rebuild import rebuild
from workbench.compression.groups.structure import Structure
from workbench.compression.groups.watched_layers import watching
from workbench.compression.measurements import MEASUREMENTS
from workbench.compression.method_names import PRICES, reads
from workbench.compression.recipe_choice.budgeted_recipe import Candidate, choose, unrounded_costs
from workbench.compression.recipes.correlation_record import (
    CORRELATIONS_FILE,
    correlations_of,
    write_correlations,
)
from workbench.compression.recipes.recipes import Recipe
from workbench.store.keys import file_hash
from workbench.store.recorder import Recorder
from workbench.store.run_tags import HASH
from workbench.store.runs import StoredRun
from workbench.store.stored_results import (
    COMPENSATION_FILE,
    OPTIONS_FILE,
    RECIPE_FILE,
    SPECTRA_FILE,
    stored_correlations,
    stored_recipe,
)
from workbench.training.progress import Display
from workbench.training.time_left import ANALYSIS, pass_work

_RUNTIME_MS = "runtime_latency_ms"
#: Number of timed passes by images per pass. Passes of 64 images vary less, so fewer are enough.
_ROUNDS = {1: 30, 64: 7}


def find_analysis(
    loaded: LoadedTask, weights: str, recorder: Recorder
) -> tuple[StoredRun, Analysis] | None:
    """Find the recorded analysis and its run; None if it is not recorded."""
    run = recorder.find(analysis_key(loaded, weights))
    return (run, _fetch_analysis(run, recorder)) if run else None


def analyse(
    loaded: LoadedTask,
    source: SourceNetwork,
    recorder: Recorder,
    parent: str | None,
    measure: Callable[[], Analysis] | None = None,
) -> Analysis:
    """Find the recorded analysis, or measure and record it.

    Args:
        parent: id of the parent run of a new run; None for a run without a parent.
        measure: function that measures the analysis; None analyses the source network.
    """
    task, display = loaded.task, recorder.display
    key = analysis_key(loaded, source.fingerprint)
    with recorder.work.lock(
        key, lambda: display.say("another process runs the same analysis; waiting for it")
    ):
        prepared: Start | None = None
        found = done = None if recorder.fresh else recorder.find(key)
        if done is None:
            params = {**task.params(), "protocol": "analysis"}
            run_id = recorder.open(
                key, "analysis", f"analysis · {task.domain.name}", params, parent
            )
            with recorder.closing(run_id):
                recorder.store.log_inputs(run_id, subject_inputs(loaded)[:1])
                options = adaptation_options(task)
                for name, text in {OPTIONS_FILE: options, **recorded_inputs(task)}.items():
                    recorder.store.attach_text(run_id, name, text)
                result = measure() if measure else measure_analysis(loaded, source, display)
                prepared = result.prepared
                _record_analysis(result, recorder, run_id)
            done = recorder.store.run(run_id)
    analysis = replace(_fetch_analysis(done, recorder), measured=found is None)
    prepared = prepared or _prepared_start(loaded, source, analysis.recipe, display)
    analysis = replace(analysis, prepared=prepared)
    for layer in analysis.recipe.dead_layers:
        display.say(
            f"warning: no filter of layer {layer} responds to {task.domain.name}; it keeps 1 filter"
        )
    for line in analysis_remarks(analysis, task):
        display.say(line)
    return analysis


def _prepared_start(
    loaded: LoadedTask, source: SourceNetwork, recipe: Recipe, display: Display
) -> Start | None:
    """What trainings start from after compensation or a factorisation; None without them."""
    if loaded.task.settings.recipe.compensate:
        return compensated_start(loaded, source, recipe, display)[0]
    if recipe.factorises:
        return factorised_start(loaded, source, recipe, display)
    return None


def measure_analysis(
    loaded: LoadedTask,
    source: SourceNetwork,
    display: Display,
    trained: Mapping[str, Mapping[str, Array]] | None = None,
) -> Analysis:
    """Analyse the source network in a single step.

    Args:
        trained: scores of trained gates by filter group, by the name of their method.
    """
    task = loaded.task
    structure = source_structure(task)
    title, latency = f"analysis · {task.domain.name}", budget_latency(loaded)
    full = rebuild(source.build(task), head_rows(loaded), structure)
    respond = partial(gather, loaded, full, structure, display, title)
    if task.settings.recipe.factorises:
        made = factorised(loaded, source, respond, display)
        return Analysis(
            made.recipe,
            *compare_costs(made.full, made.small, loaded),
            runtime_ms=latency(made.small, (), _ROUNDS[1]) if latency else None,
            prepared=made.start,
        )
    evidence = respond()
    for name, scores in (trained or {}).items():
        evidence = tuple(
            replace(found, measured={**found.measured, name: scores[found.group.name]})
            for found in evidence
        )
    recipe, unrounded = decide(loaded, full, structure, evidence)
    small = rebuild(full, recipe.kept, structure)
    analysis = Analysis(
        recipe,
        *compare_costs(full, small, loaded),
        unrounded=unrounded,
        correlations=correlations_of(evidence, recipe),
        runtime_ms=latency(small, recipe.widths, _ROUNDS[1]) if latency else None,
    )
    if not task.settings.recipe.compensate:
        return analysis
    prepared, report = compensated_start(loaded, source, recipe, display)
    return replace(analysis, prepared=prepared, compensation=report())


def gather(
    loaded: LoadedTask,
    network: nn.Module,
    structure: Structure,
    display: Display,
    title: str,
    *,
    also_read: Set[str] = frozenset(),
) -> tuple[Evidence, ...]:
    """Collect the evidence that the task's method needs about every filter group.

    Args:
        network: analysed on the target's training images; its outputs are the target's classes.
        structure: its filter groups.
        title: of the progress bar.
        also_read: what other methods read that will use the same evidence (``method_names.READS``).

    Raises:
        NetworkError: when the network runs other layers on these images than in its proof, or its
            classifier was not trained on the target's classes and a method reads labels.
    """
    task, options = loaded.task, loaded.task.recipe_options()
    check_labels(task, also_read)
    looks = (structure.groups, loaded.train, task.source, loaded.processor.torch_device)
    needed = reads(options.recipe, options.selection) | also_read

    def work() -> float:
        return pass_work(count_costs(network, task.source.shape).flops, len(loaded.train))

    with (
        display.track(title, len(loaded.train), work, ANALYSIS) as advance,
        watching(network, structure.path),
    ):
        moments = measure_responses(network, *looks, lambda seen: advance(seen, "images"))
        measured = {
            name: measure(network, *looks)
            for name, measure in MEASUREMENTS.items()
            if name in needed
        }
    return collect(network, moments, structure, measured)


def decide(
    loaded: LoadedTask,
    network: nn.Module,
    structure: Structure,
    evidence: Sequence[Evidence],
    *,
    full: Costs | None = None,
    steps_left: int = 1,
) -> tuple[Recipe, Costs | None]:
    """Make the task's recipe, and compute its costs before rounding if it is rounded.

    Args:
        network: the network to compress, with the target's classes.
        structure: its filter groups.
        evidence: the evidence about each group.
        full: costs of the network that a budget's shares refer to; None means ``network``.
        steps_left: steps of iterative PFA from this one on; 1 for the last or only step.

    Raises:
        SettingsError: when no network is within the budget.
    """
    task, shape = loaded.task, loaded.task.source.shape
    options = replace(task.recipe_options(), steps_left=steps_left, fixed=fixed_layers(task))
    widths = {group.name: group.filters for group in source_structure(task).groups}
    evidence = [replace(found, full_filters=widths[found.group.name]) for found in evidence]
    if PRICES in reads(options.recipe):
        evidence = with_prices(evidence, network, structure, shape)
    candidate = Candidate(
        network,
        structure,
        shape,
        loaded.processor.torch_device,
        full or count_costs(network, shape),
        budget_latency(loaded),
    )
    recipe = choose(candidate, evidence, options, task.budget)
    rounded = task.settings.recipe.multiple_of > 1
    return recipe, unrounded_costs(candidate, evidence, options, recipe) if rounded else None


def compare_costs(full: nn.Module, small: nn.Module, loaded: LoadedTask) -> tuple[Costs, Costs]:
    """Costs of the full and the compressed network; their latencies are measured in turns."""
    shape = loaded.task.source.shape
    networks, device = (full, small), loaded.processor.torch_device
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
    if analysis.runtime_ms is not None:
        metrics[_RUNTIME_MS] = round(analysis.runtime_ms, 4)
    if analysis.unrounded:
        metrics["unrounded_parameters"] = analysis.unrounded.parameters
        metrics["unrounded_flops"] = analysis.unrounded.flops
    if analysis.compensation:
        metrics |= analysis.compensation.metrics()
        store.attach_text(run_id, COMPENSATION_FILE, analysis.compensation.to_json())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / RECIPE_FILE
        path.write_text(recipe.to_json())
        store.log(run_id, metrics=metrics, tags={HASH: file_hash(path)})
        store.attach(run_id, path)
    attach_correlations(analysis, recorder, run_id)
    store.attach_text(run_id, SPECTRA_FILE, recipe.spectra_json())


def attach_correlations(analysis: Analysis, recorder: Recorder, run_id: str) -> None:
    """Write the correlations of an analysis to a run, if they are known."""
    if analysis.correlations:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / CORRELATIONS_FILE
            write_correlations(analysis.correlations, path)
            recorder.store.attach(run_id, path)


def _fetch_analysis(run: StoredRun, recorder: Recorder) -> Analysis:
    recipe = stored_recipe(recorder.store, run)
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
    runtime_ms = run.metrics.get(_RUNTIME_MS)
    report = stored_compensation(recorder, run) if "compensate" in run.params else None
    return Analysis(
        recipe,
        full,
        small,
        unrounded=unrounded,
        runtime_ms=runtime_ms,
        compensation=report,
        correlations=stored_correlations(recorder.store, run),
    )
