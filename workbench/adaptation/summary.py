"""The end of an adaptation: results, verdict, and the content of its own run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.loaded_task import LoadedTask, settings_dict
from workbench.adaptation.verdict import judge
from workbench.errors import DamagedRunError
from workbench.reporting.charts import accuracy_chart, filters_chart
from workbench.reporting.json_results import as_dict, recommended, summary_metrics
from workbench.reporting.results import Adaptation, ProtocolResult
from workbench.reporting.verdict_text import note
from workbench.store.recorder import Recorder
from workbench.store.runs import StoredRun
from workbench.store.stored_results import (
    RECIPE_FILE,
    RESULT_FILE,
    SPECTRA_FILE,
    read_artifact,
    stored_recipe,
)
from workbench.store.unfinished_work import WEIGHTS_FILE
from workbench.training.protocols import Protocol


@dataclass(frozen=True)
class ProtocolRuns:
    """The runs of one protocol, one for each seed.

    Attributes:
        trained: number of runs that this call trained.
        best: the run whose weights are kept; None if there is none.
    """

    protocol: Protocol
    runs: tuple[StoredRun, ...]
    trained: int
    best: StoredRun | None


def conclude(
    loaded: LoadedTask,
    analysis: Analysis,
    protocols: Sequence[ProtocolRuns],
    recorder: Recorder,
    parent: str,
) -> Adaptation:
    """The result of every protocol, and the verdict."""
    results = []
    for part in protocols:
        costs = analysis.costs(part.protocol)
        results.append(
            ProtocolResult(
                protocol=part.protocol.name,
                hits=tuple(round(run.metrics["test_hits"]) for run in part.runs),
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
            )
        )
    runs = [run for part in protocols for run in part.runs]
    return Adaptation(
        settings=settings_dict(loaded.task, loaded.processor, loaded),
        recipe=analysis.recipe,
        protocols=tuple(results),
        verdict=judge(results, loaded.task.settings.what.tolerance),
        trained=sum(part.trained for part in protocols),
        reused=tuple(run.run_id for run in runs if run.parent != parent),
        run_id=parent,
        tracking_uri=recorder.store.shown,
    )


def is_concluded(recorder: Recorder, parent: str) -> bool:
    """Whether the adaptation's own run has its result and its recipe, undamaged."""
    run = recorder.store.run(parent)
    try:
        read_artifact(recorder.store, run, RESULT_FILE, recommended)
        stored_recipe(recorder.store, run)
    except DamagedRunError:
        return False
    return True


def write_conclusion(
    adaptation: Adaptation, protocols: Sequence[ProtocolRuns], recorder: Recorder, parent: str
) -> None:
    """Write note, metrics, recipe, settings and figures to the adaptation's own run."""
    store, recipe = recorder.store, adaptation.recipe
    elsewhere = [run for part in protocols for run in part.runs if run.parent != parent]
    links = [
        (run.name, f"#/experiments/{recorder.experiment}/runs/{run.run_id}") for run in elsewhere
    ]
    store.log(
        parent,
        metrics=summary_metrics(adaptation),
        tags={
            "mlflow.note.content": note(adaptation, links),
            "recommended": adaptation.verdict.recommended.protocol,
        },
    )
    store.attach_text(parent, RECIPE_FILE, recipe.to_json())
    store.attach_text(parent, SPECTRA_FILE, recipe.spectra_json())
    store.attach_text(parent, "settings.json", json.dumps(dict(adaptation.settings), indent=1))
    store.attach_text(parent, RESULT_FILE, json.dumps(as_dict(adaptation), indent=1))
    with tempfile.TemporaryDirectory() as folder:
        accuracy, filters = Path(folder) / "accuracy.png", Path(folder) / "filters.png"
        target = str(adaptation.settings["target"])
        accuracy_chart({target: adaptation.protocols}, accuracy)
        counts = [(layer.filters, layer.kept) for layer in recipe.layers]
        filters_chart({f"kept for {target}": counts}, filters)
        store.attach(parent, accuracy)
        store.attach(parent, filters)
