"""The one place where all steps meet: source -> responses -> recipe -> protocols -> verdict.

``adapt`` runs them all, ``analyze`` stops at the recipe, ``train`` makes a source network and
``compress`` applies a recipe to a network in memory. Every training and analysis goes through
``recording``, so what is already in the store is not done again.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import nn

from workbench import report
from workbench.compression.costs import Costs, count_costs, measure_latencies
from workbench.compression.rebuild import rebuild
from workbench.compression.recipes import Recipe, make_recipe
from workbench.data.location import data_folder
from workbench.data.sets import load_images
from workbench.display import Display
from workbench.figures import accuracy_chart, filters_chart
from workbench.jobs import (
    Analysis,
    SourceNetwork,
    Subject,
    analysis_key,
    cost_metrics,
    head_rows,
    protocol_job,
    settings_dict,
    source_job,
    subject_inputs,
)
from workbench.keys import file_hash, key_of
from workbench.models.networks import analysed_layers
from workbench.planning import SourceTask, Task, check_new_file, resolve, resolve_source
from workbench.processor import Processor, resolve_processor
from workbench.protocols import PROTOCOLS, Protocol
from workbench.recording import (
    DROPPED,
    HASH,
    RECIPE_FILE,
    SPECTRA_FILE,
    WEIGHTS,
    WEIGHTS_FILE,
    Recorder,
)
from workbench.responses import measure_responses
from workbench.results import Adaptation, ProtocolResult, judge
from workbench.settings import Settings
from workbench.tracking import Store, StoredRun
from workbench.weights import read_weights
from workbench.work import Outcome, Work, disk_errors

DEFAULT_OUTPUT = Path("mlruns/work")


def adapt(*, display: Display | None = None, **options: Any) -> Adaptation:
    """Specialise a network for a target domain and say what that costs.

    Args:
        display: where progress goes; silent when None.
        **options: the fields of ``settings.Settings``, named as on the command line.

    Returns:
        Recipe, results of every protocol, and verdict.

    Raises:
        WorkbenchError: for anything that the user can mend; see ``errors``.
    """
    display = display or Display()
    task, processor, given, recorder, subject = _prepare(options, display)
    key = adapt_key(subject, given)
    waiting = "another process runs the same adaptation; waiting for it"
    with recorder.work.lock(key, lambda: display.say(waiting)):
        parent, finished = recorder.open_parent(key, _title(task), _parent_params(task))
        with nullcontext() if finished else recorder.closing(parent):
            source = given or _train_source(task, processor, recorder)
            analysis = _analyse(subject, source, recorder, parent)
            rounds = [
                _train_seeds(subject, PROTOCOLS[name], source, analysis, recorder, parent)
                for name in task.settings.protocols
            ]
            adaptation = _conclude(subject, analysis, rounds, recorder, parent)
            if not finished or adaptation.trained:
                _write_conclusion(adaptation, rounds, recorder, parent)
    return adaptation


def analyze(*, display: Display | None = None, **options: Any) -> Recipe:
    """Measure the target's responses and make the recipe; no protocol is trained.

    Arguments and errors are those of ``adapt``; a source network is trained when no weights
    are given and none is recorded.
    """
    display = display or Display()
    task, processor, given, recorder, subject = _prepare(options, display)
    source = given or _train_source(task, processor, recorder)
    return _analyse(subject, source, recorder, None).recipe


def compress(model: nn.Module, recipe: Recipe) -> nn.Module:
    """The smaller network that a recipe describes, with the kept filters' weights.

    Args:
        model: the full network, a chain of layers (see ``compression.rebuild``); left as it is.
        recipe: from ``analyze``, for this network.

    Raises:
        NetworkError: when the recipe does not fit the network.
    """
    return rebuild(model, recipe.kept)


def train(
    out: Path | str,
    *,
    display: Display | None = None,
    device: str = Settings.device,
    precision: str = Settings.precision,
    data_dir: Path | None = None,
    tracking_uri: str | None = None,
    output: Path | None = None,
    fresh: bool = False,
    **options: Any,
) -> float:
    """Train a source network by itself and save its weights.

    Args:
        out: safetensors file to write; one that is there is not overwritten.
        **options: those of ``planning.resolve_source``.

    Returns:
        Test accuracy on all classes of the source, in [0, 1].

    Raises:
        WorkbenchError: for anything that the user can mend; see ``errors``.
    """
    task = resolve_source(device=device, precision=precision, **options)
    out = check_new_file(Path(out), "--out")
    processor = resolve_processor(device, precision)
    recorder = open_recorder(
        task.source.name, processor, display or Display(), tracking_uri, output, fresh
    )
    run = _source_run(task, processor, data_folder(data_dir), recorder)
    weights = recorder.store.fetch(run, WEIGHTS_FILE)
    assert weights is not None  # the recorder returns whole runs only
    with disk_errors(out.parent):
        part = out.with_name(f"{out.name}.part")
        shutil.copyfile(weights, part)
        os.replace(part, out)
    return run.metrics["test_accuracy"]


# --- the steps -----------------------------------------------------------------------------


def _prepare(
    options: dict[str, Any], display: Display
) -> tuple[Task, Processor, SourceNetwork | None, Recorder, Subject]:
    """Everything that can go wrong before any work is done, cheapest first."""
    task = resolve(Settings.of(**options))
    settings = task.settings
    processor = resolve_processor(settings.device, settings.precision)
    given = given_weights(task)
    recorder = open_recorder(
        task.source.name,
        processor,
        display,
        settings.tracking_uri,
        settings.output,
        settings.fresh,
    )
    return task, processor, given, recorder, load_subject(task, processor)


def given_weights(task: Task) -> SourceNetwork | None:
    """The source network of ``--weights``, checked against the architecture."""
    path = task.settings.weights
    if path is None:
        return None
    source = SourceNetwork(read_weights(path), path.name)
    source.build(task)  # raises when they do not fit
    return source


def open_recorder(
    experiment: str,
    processor: Processor,
    display: Display,
    tracking_uri: str | None,
    output: Path | None,
    fresh: bool,
) -> Recorder:
    """The store and the work folder, both seen to be writable."""
    work = Work(output or DEFAULT_OUTPUT)
    work.prepare()
    store = Store(tracking_uri)
    return Recorder(store, store.experiment(experiment), work, processor, display, fresh)


def load_subject(task: Task, processor: Processor) -> Subject:
    """The target's images.

    Raises:
        DataError: when they cannot be had, or a class has fewer than two training images.
    """
    folder = data_folder(task.settings.data_dir)
    names, source = task.domain.classes, task.source.name
    train = load_images(source, "train", folder).of_classes(names, source)
    train.check_trainable(names, source)
    test = load_images(source, "test", folder).of_classes(names, source)
    return Subject(task, processor, train, test)


def adapt_key(subject: Subject, given: SourceNetwork | None) -> str:
    """Key of a whole adaptation: the same call on the same data goes on in the same run."""
    settings = settings_dict(subject.task, subject.processor)
    settings.pop("torch")
    weights = given.fingerprint if given else None
    return key_of("adapt", {**subject.data, "settings": settings, "weights": weights})


def _train_source(task: Task, processor: Processor, recorder: Recorder) -> SourceNetwork:
    """The source network of an adaptation without ``--weights``, trained once for all."""
    folder = data_folder(task.settings.data_dir)
    run = _source_run(
        SourceTask(task.source, task.model, task.source_plan), processor, folder, recorder
    )
    path = recorder.store.fetch(run, WEIGHTS_FILE)
    assert path is not None  # the recorder returns whole runs only
    return SourceNetwork(read_weights(path), run.run_id)


def _source_run(
    task: SourceTask, processor: Processor, folder: Path, recorder: Recorder
) -> StoredRun:
    train = load_images(task.source.name, "train", folder)
    test = load_images(task.source.name, "test", folder)
    job = source_job(task, processor, train, test)
    run, trained = recorder.train(job, None, lambda outcome: True)
    accuracy = report.percent(run.metrics["test_accuracy"])
    how = "trained" if trained else "found in the store"
    recorder.display.say(f"source network: {how}, {accuracy} on all classes of {task.source.name}")
    return run


def _analyse(
    subject: Subject, source: SourceNetwork, recorder: Recorder, parent: str | None
) -> Analysis:
    """The recipe and both networks' costs, measured once."""
    task, display = subject.task, recorder.display
    key = analysis_key(subject, source.fingerprint)
    with recorder.work.lock(key, lambda: display.say("another process analyses; waiting")):
        done = None if recorder.fresh else recorder.find(key)
        if done is None:
            params = {**_parent_params(task), "protocol": "analysis"}
            run_id = recorder.open(
                key, "analysis", f"analysis · {task.domain.name}", params, parent
            )
            with recorder.closing(run_id):
                recorder.store.log_inputs(run_id, subject_inputs(subject)[:1])
                _record_analysis(_measure(subject, source, display), recorder, run_id)
            done = recorder.store.run(run_id)
    recipe, spectra = (recorder.store.fetch(done, name) for name in (RECIPE_FILE, SPECTRA_FILE))
    assert recipe is not None
    assert spectra is not None
    analysis = _read_analysis(done, Recipe.from_json(recipe.read_text(), spectra.read_text()))
    for layer in analysis.recipe.dead_layers:
        display.say(
            f"warning: no filter of layer {layer} responds to {task.domain.name}; it keeps 1"
        )
    return analysis


def _measure(subject: Subject, source: SourceNetwork, display: Display) -> Analysis:
    task, processor = subject.task, subject.processor
    device, shape = processor.torch_device, task.source.shape
    model = source.build(task)
    with display.track(f"analysis · {task.domain.name}", len(subject.train)) as advance:
        layers = analysed_layers(model)
        moments = measure_responses(
            model, layers, subject.train, task.source, device, lambda seen: advance(seen, "images")
        )
    recipe = make_recipe(moments, task.settings.method, task.energy)
    full = rebuild(model, head_rows(model, subject))
    small = rebuild(full, recipe.kept)
    latencies = measure_latencies([full, small], shape, device)
    costs = [
        replace(count_costs(network, shape), latency_ms=latency)
        for network, latency in zip((full, small), latencies, strict=True)
    ]
    return Analysis(recipe, costs[0], costs[1])


def _record_analysis(analysis: Analysis, recorder: Recorder, run_id: str) -> None:
    store, recipe = recorder.store, analysis.recipe
    metrics = cost_metrics(analysis.compressed, analysis.full)
    full = cost_metrics(analysis.full, analysis.full)
    metrics |= {f"full_{name}": full[name] for name in ("parameters", "flops", "latency_ms")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / RECIPE_FILE
        path.write_text(recipe.to_json())
        store.log(run_id, metrics=metrics, tags={HASH: file_hash(path)})
        store.attach(run_id, path)
    store.attach_text(run_id, SPECTRA_FILE, recipe.spectra_json())


def _read_analysis(run: StoredRun, recipe: Recipe) -> Analysis:
    full, small = (
        Costs(
            round(run.metrics[f"{prefix}parameters"]),
            round(run.metrics[f"{prefix}flops"]),
            run.metrics[f"{prefix}latency_ms"],
        )
        for prefix in ("full_", "")
    )
    return Analysis(recipe, full, small)


@dataclass(frozen=True)
class _Round:
    """One protocol over its seeds: the runs, and which of them this call trained."""

    protocol: Protocol
    runs: tuple[StoredRun, ...]
    trained: int
    best: StoredRun | None  # whose weights are kept


def _train_seeds(
    subject: Subject,
    protocol: Protocol,
    source: SourceNetwork,
    analysis: Analysis,
    recorder: Recorder,
    parent: str,
) -> _Round:
    """Run a protocol with every seed; of the trained weights those asked for are kept."""
    settings = subject.task.settings
    runs: list[StoredRun] = []
    best: StoredRun | None = None
    trained = 0

    def is_better(hits: float) -> bool:
        return best is None or hits > best.metrics["test_hits"]

    def keep(outcome: Outcome) -> bool:
        return settings.keep_weights == "all" or (
            settings.keep_weights == "best" and is_better(outcome.hits)
        )

    for seed in range(settings.seeds):
        job = protocol_job(subject, protocol, seed, source, analysis)
        run, new = recorder.train(job, parent, keep)
        trained += new
        if run.tags.get(WEIGHTS) != DROPPED and is_better(run.metrics["test_hits"]):
            # Only weights of this adaptation are dropped: another's are not ours to delete.
            if best and settings.keep_weights == "best" and best.parent == parent:
                recorder.drop_weights(best)
            best = run
        runs.append(run)
    return _Round(protocol, tuple(runs), trained, best)


def _conclude(
    subject: Subject, analysis: Analysis, rounds: Sequence[_Round], recorder: Recorder, parent: str
) -> Adaptation:
    """Results and verdict."""
    results = []
    for part in rounds:
        costs = analysis.costs(part.protocol)
        results.append(
            ProtocolResult(
                protocol=part.protocol.name,
                hits=tuple(round(run.metrics["test_hits"]) for run in part.runs),
                images=len(subject.test),
                parameters=costs.parameters,
                footprint=costs.parameters / analysis.full.parameters,
                flops=costs.flops,
                flops_ratio=costs.flops / analysis.full.flops,
                latency_ms=costs.latency_ms,
                train_seconds=fmean(run.metrics["train_seconds"] for run in part.runs),
                run_ids=tuple(run.run_id for run in part.runs),
                weights=part.best.artifact(WEIGHTS_FILE) if part.best else None,
            )
        )
    runs = [run for part in rounds for run in part.runs]
    return Adaptation(
        settings=settings_dict(subject.task, subject.processor),
        recipe=analysis.recipe,
        protocols=tuple(results),
        verdict=judge(results, subject.task.settings.tolerance),
        trained=sum(part.trained for part in rounds),
        reused=tuple(run.run_id for run in runs if run.parent != parent),
        run_id=parent,
        tracking_uri=recorder.store.uri,
    )


def _write_conclusion(
    adaptation: Adaptation, rounds: Sequence[_Round], recorder: Recorder, parent: str
) -> None:
    """Note, aggregate metrics, recipe, settings and figures of the adaptation's own run."""
    store, recipe = recorder.store, adaptation.recipe
    elsewhere = [run for part in rounds for run in part.runs if run.parent != parent]
    links = [
        (run.name, f"#/experiments/{recorder.experiment}/runs/{run.run_id}") for run in elsewhere
    ]
    store.log(
        parent,
        metrics=report.summary_metrics(adaptation),
        tags={
            "mlflow.note.content": report.note(adaptation, links),
            "recommended": adaptation.verdict.recommended.protocol,
        },
    )
    store.attach_text(parent, RECIPE_FILE, recipe.to_json())
    store.attach_text(parent, SPECTRA_FILE, recipe.spectra_json())
    store.attach_text(parent, "settings.json", json.dumps(dict(adaptation.settings), indent=1))
    store.attach_text(parent, "result.json", json.dumps(report.as_dict(adaptation), indent=1))
    with tempfile.TemporaryDirectory() as folder:
        accuracy, filters = Path(folder) / "accuracy.png", Path(folder) / "filters.png"
        target = str(adaptation.settings["target"])
        accuracy_chart({target: adaptation.protocols}, accuracy)
        counts = [(layer.filters, layer.kept) for layer in recipe.layers]
        filters_chart({f"kept for {target}": counts}, filters)
        store.attach(parent, accuracy)
        store.attach(parent, filters)


def _title(task: Task) -> str:
    return f"{task.domain.name} · {task.model} · {task.settings.method}"


def _parent_params(task: Task) -> dict[str, object]:
    params: dict[str, object] = {
        "domain": task.domain.name,
        "source": task.source.name,
        "model": task.model,
        "method": task.settings.method,
        "protocol": "all",
    }
    return params if task.energy is None else {**params, "energy": task.energy}
