"""Latencies of the trained networks and their stages in all runtimes, measured once and recorded.

A latency hardly depends on the weights, so only one of several networks with the same widths is
measured.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.plans.run_keys import factor_parts
from workbench.adaptation.stages.stage_work import NetworkSizes, latency_work
from workbench.adaptation.tasks.loaded_task import LoadedTask
from workbench.adaptation.tasks.source_network import model_parts
from workbench.adaptation.trainings.protocol_run_sets import ProtocolRuns
from workbench.compression.costs.costs import Timing
from workbench.compression.narrow_networks import load_network
from workbench.compression.recipes.recipe_settings import ONNX, TORCH
from workbench.data.checked_values import listed, mapped, number, short_text
from workbench.deployment.onnx_files import write_onnx
from workbench.deployment.runtimes import Subject, time_files
from workbench.deployment.stage_names import STAGES
from workbench.errors import DamagedRunError
from workbench.models.processor import machine_name
from workbench.models.weight_files import read_card
from workbench.store.keys import file_hash, key_of
from workbench.store.recorder import Recorder
from workbench.store.run_tags import FILE, HASH
from workbench.store.runs import StoredRun
from workbench.store.stored_results import LATENCIES_FILE, read_artifact
from workbench.store.unfinished_work import WEIGHTS_FILE
from workbench.training.time_left import STAGE

#: Times at batch 1 and 64 by (network, stage or runtime); the network is "full" or "compressed".
Latencies = Mapping[tuple[str, str], tuple[Timing, Timing]]
FULL, COMPRESSED = "full", "compressed"


def measure_runtimes(
    loaded: LoadedTask,
    analysis: Analysis,
    protocols: Sequence[ProtocolRuns],
    recorder: Recorder,
    parent: str,
) -> Latencies:
    """Find the recorded latencies, or measure and record them.

    Args:
        protocols: one network of each kind whose weights are kept is measured.

    Returns:
        Empty without stages that run in onnxruntime, and if no weights were kept.
    """
    deployment = loaded.task.settings.deployment
    stages = [name for name in deployment.stages if STAGES[name].runtime]
    if stages and not deployment.runs_here:
        recorder.display.say(
            f"int8 files for {deployment.int8_for} are not timed on this processor"
        )
        return {}
    networks = _networks(protocols)
    if not stages or not networks:
        return {}
    key = _key(loaded, analysis, stages, networks)
    waiting = "another process measures the latencies; waiting for it"
    with recorder.work.lock(key, lambda: recorder.display.say(waiting)):
        run = None if recorder.fresh else recorder.find(key)
        found = None if run is None else _read(recorder, run)
        if found is not None:
            _log_to_stages(found, protocols, recorder)
            return found
        title = f"latencies · {loaded.task.domain.name}"
        params = {**loaded.task.params(), "protocol": "latency", "stages": ", ".join(stages)}
        run_id = recorder.open(key, "latency", title, params, parent)
        with recorder.closing(run_id), tempfile.TemporaryDirectory() as folder:
            sizes = NetworkSizes(0.0, analysis.full.flops, analysis.compressed.flops)
            work = partial(latency_work, loaded.task, sizes)
            with recorder.display.track(title, 1, work, STAGE):
                measured = _measure(loaded, networks, stages, recorder, Path(folder))
            path = Path(folder) / LATENCIES_FILE
            path.write_text(json.dumps(_plain(measured, loaded.processor.threads), indent=1))
            recorder.store.log(run_id, metrics=_metrics(measured), tags={HASH: file_hash(path)})
            recorder.store.attach(run_id, path)
    _log_to_stages(measured, protocols, recorder)
    return measured


def _log_to_stages(
    measured: Latencies, protocols: Sequence[ProtocolRuns], recorder: Recorder
) -> None:
    """Write the latencies to the runs of the stages, for tables and filters over all runs."""
    for part in protocols:
        network = COMPRESSED if part.protocol.compressed else FULL
        for staged in (each for runs in part.stages.values() for each in runs):
            pair = measured.get((network, staged.stage))
            if pair and "latency_ms" not in staged.run.metrics:
                one, many = (round(timing.median, 3) for timing in pair)
                metrics = {"latency_ms": one, "latency_64_ms": many}
                recorder.store.log(staged.run.run_id, metrics=metrics)


def _networks(protocols: Sequence[ProtocolRuns]) -> dict[str, ProtocolRuns]:
    """For the full and the compressed network, runs whose weights and stages are kept."""
    found: dict[str, ProtocolRuns] = {}
    for part in protocols:
        if part.best is not None:
            found.setdefault(COMPRESSED if part.protocol.compressed else FULL, part)
    return found


def _key(
    loaded: LoadedTask,
    analysis: Analysis,
    stages: Sequence[str],
    networks: Mapping[str, ProtocolRuns],
) -> str:
    task = loaded.task
    return key_of(
        "latency",
        {
            **model_parts(task.model, task.source),
            "shape": list(task.source.shape),
            "classes": len(task.domain.classes),
            "widths": list(analysis.recipe.widths),
            **factor_parts(analysis.recipe, inherited=False),
            "networks": sorted(networks),
            "stages": {name: task.settings.deployment.of_stage(name) for name in stages},
            "threads": loaded.processor.threads,
            "machine": machine_name("cpu"),
        },
    )


def _measure(
    loaded: LoadedTask,
    networks: Mapping[str, ProtocolRuns],
    stages: Sequence[str],
    recorder: Recorder,
    folder: Path,
) -> Latencies:
    subjects = []
    for name, part in networks.items():
        assert part.best is not None  # chosen so
        weights = recorder.store.fetch(part.best, WEIGHTS_FILE)
        if weights is None:
            continue
        plain, card = folder / f"{name}.onnx", read_card(weights)
        write_onnx(load_network(weights, card.model), card, plain)
        subjects += [Subject(name, TORCH, weights), Subject(name, ONNX, plain)]
        for stage in stages:
            run = part.best_stage(stage)
            file = run and recorder.store.fetch(run, run.tags[FILE])
            if file:
                subjects.append(Subject(name, stage, file))
    times = time_files(subjects, loaded.processor.threads, loaded.task.model)
    return {
        (subject.network, subject.runtime): pair
        for subject, pair in zip(subjects, times, strict=True)
    }


def _plain(measured: Latencies, threads: int) -> dict[str, Any]:
    rows = [
        {"network": network, "runtime": runtime, "batch_1": asdict(one), "batch_64": asdict(many)}
        for (network, runtime), (one, many) in measured.items()
    ]
    return {"unit": "ms", "threads": threads, "latencies": rows}


def _read(recorder: Recorder, run: StoredRun) -> Latencies | None:
    try:
        return read_artifact(recorder.store, run, LATENCIES_FILE, _parsed)
    except DamagedRunError:
        return None


def _parsed(content: object) -> Latencies:
    rows = listed("latencies", mapped("it", content).get("latencies"))
    found = {}
    for row in rows:
        fields = mapped("a latency", row)
        names = (short_text(name, fields.get(name)) for name in ("network", "runtime"))
        found[tuple(names)] = tuple(_timing(fields.get(f"batch_{size}")) for size in (1, 64))
    return found  # type: ignore[return-value]


def _timing(content: object) -> Timing:
    fields = mapped("a timing", content)
    return Timing(*(number(name, fields.get(name)) for name in ("median", "low", "high", "p95")))


def _metrics(measured: Latencies) -> dict[str, float]:
    return {
        f"{network}/{runtime}/batch_{size}_ms": round(timing.median, 4)
        for (network, runtime), pair in measured.items()
        for size, timing in zip((1, 64), pair, strict=True)
    }
