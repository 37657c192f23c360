"""The end of an adaptation: results, verdict, and the content of its own run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.adaptation.analysis.analysis import attach_correlations
from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.results.latency_runs import COMPRESSED, FULL, Latencies
from workbench.adaptation.results.run_report import TestImages, adaptation_html, attach_report
from workbench.adaptation.results.verdict import judge
from workbench.adaptation.tasks.loaded_task import LoadedTask, settings_dict
from workbench.adaptation.trainings.protocol_run_sets import ProtocolRuns
from workbench.compression.recipes.recipe_settings import ONNX, TORCH
from workbench.deployment.network_files import card_of
from workbench.deployment.stage_names import INT8, STAGES
from workbench.errors import DamagedRunError
from workbench.models.factors import LOW_RANK
from workbench.reporting.charts import accuracy_chart, filters_chart
from workbench.reporting.json_results import as_dict, recommended_files, summary_metrics
from workbench.reporting.results import Adaptation, ProtocolResult
from workbench.reporting.verdict_text import note
from workbench.store.mlflow_models import Described, drop_model, share_model
from workbench.store.recorder import Recorder
from workbench.store.run_tags import FILE
from workbench.store.runs import NOTE_TAG, StoredRun
from workbench.store.stored_results import (
    RECIPE_FILE,
    REPORT_FILE,
    RESULT_FILE,
    SPECTRA_FILE,
    read_artifact,
    stored_hits,
    stored_left_float,
    stored_recipe,
)
from workbench.store.unfinished_work import WEIGHTS_FILE
from workbench.training.attack_names import FGSM, PGD, attack_metric

_SHARED = {
    "flops", "flops_ratio", "parameters", "footprint", "latency_ms", "latency_64_ms",
    "latency_share", "latency_64_share",
}  # fmt: skip
#: Title and file of the charts of an adaptation.
_CHARTS = (("Accuracy of the networks", "accuracy.png"), ("Filters kept", "filters.png"))
RECOMMENDED = "recommended"  # tag with the label of the recommended network


def conclude(
    loaded: LoadedTask,
    analysis: Analysis,
    protocols: Sequence[ProtocolRuns],
    latencies: Latencies,
    recorder: Recorder,
    parent: str,
) -> Adaptation:
    """The result of every protocol and every stage, and the verdict."""
    results = [_result(part, loaded, analysis, latencies, recorder) for part in protocols]
    staged = [
        _staged(part, result, stage, latencies, recorder)
        for part, result in zip(protocols, results, strict=True)
        for stage, runs in part.stages.items()
        if runs
    ]
    what = loaded.task.settings.what
    runs = [run for part in protocols for run in part.runs]
    return Adaptation(
        settings=settings_dict(loaded.task, loaded.processor, loaded),
        recipe=analysis.recipe,
        protocols=tuple(results),
        verdict=judge([*results, *staged], what.tolerance, what.prefer),
        trained=sum(part.trained for part in protocols),
        reused=tuple(run.run_id for run in runs if run.parent != parent),
        run_id=parent,
        tracking_uri=recorder.store.shown,
        stages=tuple(staged),
        report=recorder.store.run(parent).artifact(REPORT_FILE),
    )


def _result(
    part: ProtocolRuns,
    loaded: LoadedTask,
    analysis: Analysis,
    latencies: Latencies,
    recorder: Recorder,
) -> ProtocolResult:
    costs = analysis.costs(part.protocol)
    network = COMPRESSED if part.protocol.compressed else FULL
    timings = {
        runtime: latencies[network, runtime]
        for runtime in (TORCH, ONNX)
        if (network, runtime) in latencies
    }
    return ProtocolResult(
        protocol=part.protocol.name,
        hits=tuple(round(run.evaluated("hits")) for run in part.runs),
        images=len(loaded.test),
        parameters=costs.parameters,
        footprint=costs.parameters / analysis.full.parameters,
        flops=costs.flops,
        flops_ratio=costs.flops / analysis.full.flops,
        latency_ms=costs.latency_ms,
        latency_64_ms=costs.latency_64_ms,
        train_seconds=fmean(run.metrics["train_seconds"] for run in part.runs),
        run_ids=tuple(run.run_id for run in part.runs),
        weights=part.best.artifact(WEIGHTS_FILE) if part.best else None,
        file_bytes=_file_bytes(part.best or part.runs[0]),
        timings=timings,
        runtime=ONNX if ONNX in timings else "",
        correct=_correct(part.runs, loaded.data["test"], recorder),
        attacks=_attacks(part.runs, loaded.task.settings.training.epsilons),
    )


def _staged(
    part: ProtocolRuns,
    result: ProtocolResult,
    stage: str,
    latencies: Latencies,
    recorder: Recorder,
) -> ProtocolResult:
    """The result of a stage; costs that the stage does not change are those of the network."""
    staged = part.stages[stage]
    best = part.best_stage(stage)
    shown = best or staged[0].run
    network = COMPRESSED if part.protocol.compressed else FULL
    runtime, timings = result.runtime, result.timings
    if STAGES[stage].runtime:
        pair = latencies.get((network, stage))
        own = STAGES[stage].runtime or ""
        runtime = own if stage == INT8 else f"{own} ({stage})"
        runtime, timings = (runtime, {runtime: pair}) if pair else ("", {})
    found = replace(
        result,
        stage=stage,
        hits=tuple(round(each.run.evaluated("hits")) for each in staged),
        run_ids=tuple(each.run.run_id for each in staged),
        origins=tuple(each.origin.run_id for each in staged),
        weights=best.artifact(best.tags[FILE]) if best else None,
        file_bytes=_file_bytes(shown),
        timings=timings,
        runtime=runtime,
        latency_ms=None if STAGES[stage].runtime else result.latency_ms,
        latency_64_ms=None if STAGES[stage].runtime else result.latency_64_ms,
        train_seconds=fmean(
            each.run.metrics["train_seconds"] + each.run.metrics["stage_seconds"] for each in staged
        ),
        correct=_correct([each.run for each in staged], "", recorder),
        left_float=stored_left_float(recorder.store, shown),
        attacks={},
    )
    if not STAGES[stage].own_costs:
        return found
    return replace(found, **_own_costs(result, [each.run for each in staged]))


def _own_costs(result: ProtocolResult, runs: Sequence[StoredRun]) -> dict[str, Any]:
    """The costs of a stage whose file does not cost what the network does, mean over the seeds.

    Its times in torch are those of the network times the measured ratio, so that both were measured
    under the same load; the file runs in no other runtime.
    """
    every = [run.metrics for run in runs]
    mean = {name: fmean(each[name] for each in every) for name in every[0].keys() & _SHARED}
    exits = sum(name.startswith("exit_") and name.endswith("_share") for name in every[0])
    timings, shares = {}, [mean[f"latency_{part}share"] for part in ("", "64_")]
    if TORCH in result.timings:
        pair = zip(result.timings[TORCH], shares, strict=True)
        timings = {f"{TORCH} (multi-exit)": tuple(time.scaled(share) for time, share in pair)}
    return {
        "flops": round(mean["flops"]),
        "flops_ratio": mean["flops_ratio"],
        "parameters": round(mean["parameters"]),
        "footprint": mean["footprint"],
        "latency_ms": mean.get("latency_ms"),
        "latency_64_ms": mean.get("latency_64_ms"),
        "timings": timings,
        "runtime": next(iter(timings), ""),
        "exit_shares": tuple(
            fmean(each[f"exit_{number}_share"] for each in every) for number in range(1, exits + 1)
        ),
    }


def _attacks(runs: Sequence[StoredRun], epsilons: Sequence[int]) -> dict[str, tuple[float, ...]]:
    """Accuracies under the attacks of ``--attack``, of the runs that have them."""
    names = [attack_metric(name, epsilon) for epsilon in epsilons for name in (FGSM, PGD)]
    found = {
        name: tuple(run.metrics[name] for run in runs if name in run.metrics) for name in names
    }
    return {name: values for name, values in found.items() if values}


def _file_bytes(run: StoredRun) -> int | None:
    size = run.metrics.get("file_bytes")  # absent from runs of earlier versions
    return None if size is None else round(size)


def _correct(
    runs: Sequence[StoredRun], images: str, recorder: Recorder
) -> tuple[NDArray[np.bool_], ...]:
    """Which test images each run classifies correctly; empty unless all runs have it recorded."""
    found = [stored_hits(recorder.store, run) for run in runs]
    if any(each is None or (images and each[0] != images) for each in found):
        return ()
    return tuple(each[1] for each in found if each is not None)


def has_report(recorder: Recorder, run_id: str) -> bool:
    """Whether a run has a report already."""
    return recorder.store.fetch(recorder.store.run(run_id), REPORT_FILE) is not None


def is_concluded(recorder: Recorder, adaptation: Adaptation) -> bool:
    """Whether the adaptation's own run has this verdict and its recipe, undamaged.

    An earlier version may have recommended another network, and a stage's file may have been made
    again.
    """
    run = recorder.store.run(adaptation.run_id)
    taken = adaptation.verdict.recommended
    try:
        files = read_artifact(recorder.store, run, RESULT_FILE, recommended_files)
        stored_recipe(recorder.store, run)
    except DamagedRunError:
        return False
    if adaptation.report and not has_report(recorder, adaptation.run_id):
        return False
    return run.tags.get(RECOMMENDED) == taken.label and files == list(taken.run_ids)


def write_conclusion(
    adaptation: Adaptation,
    analysis: Analysis,
    loaded: LoadedTask,
    protocols: Sequence[ProtocolRuns],
    recorder: Recorder,
    parent: str,
) -> None:
    """Write note, metrics, recipe, settings, figures and model to the adaptation's run.

    The report is written if ``adaptation.report`` names its place.
    """
    store, recipe = recorder.store, adaptation.recipe
    elsewhere = [run for part in protocols for run in part.runs if run.parent != parent]
    links = [
        (run.name, f"#/experiments/{recorder.experiment}/runs/{run.run_id}") for run in elsewhere
    ]
    charts = [(title, _page(parent, file)) for title, file in _CHARTS]
    store.log(
        parent,
        metrics=summary_metrics(adaptation),
        tags={
            NOTE_TAG: note(adaptation, links, charts),
            RECOMMENDED: adaptation.verdict.recommended.label,
        },
    )
    store.attach_text(parent, RECIPE_FILE, recipe.to_json())
    store.attach_text(parent, SPECTRA_FILE, recipe.spectra_json())
    store.attach_text(parent, "settings.json", json.dumps(dict(adaptation.settings), indent=1))
    store.attach_text(parent, RESULT_FILE, json.dumps(as_dict(adaptation), indent=1))
    with tempfile.TemporaryDirectory() as folder:
        accuracy, filters = (Path(folder) / file for _, file in _CHARTS)
        target = str(adaptation.settings["target"])
        accuracy_chart({target: adaptation.protocols}, accuracy)
        ranks = {each.layer: each.size for each in recipe.factors if each.kind == LOW_RANK}
        counts = [(each.filters, ranks.get(each.layer, each.kept)) for each in recipe.layers]
        filters_chart({f"{'rank' if ranks else 'kept'} for {target}": counts}, filters)
        store.attach(parent, accuracy)
        store.attach(parent, filters)
    attach_correlations(analysis, recorder, parent)
    _share_model(adaptation, protocols, recorder, parent)
    if adaptation.report:
        test = TestImages(loaded.test, loaded.data["test"], loaded.task.source.white)
        attach_report(store, parent, adaptation_html(store, store.run(parent), test))


def _page(run_id: str, artifact: str) -> str:
    """Where the MLflow UI serves an artifact, relative to its own address."""
    return f"get-artifact?path={artifact}&run_uuid={run_id}"


def _share_model(
    adaptation: Adaptation, protocols: Sequence[ProtocolRuns], recorder: Recorder, parent: str
) -> None:
    """Make the recommended network the model of the adaptation's run, if it is kept."""
    taken, store = adaptation.verdict.recommended, recorder.store
    part = next(part for part in protocols if part.protocol.name == taken.protocol)
    origin = part.best_stage(taken.stage) if taken.stage else part.best
    file = store.fetch(origin, origin.tags.get(FILE, WEIGHTS_FILE)) if origin else None
    if origin is None or file is None:
        drop_model(store, store.run(parent))
        return
    known = Described(card_of(file), origin.params, summary_metrics(adaptation))
    share_model(store, store.run(parent), origin, file, known)
