"""``--dry-run``: the steps of an adaptation, and which of them are done already.

Nothing is downloaded, created or written. What depends on a result that is not there yet (the
recipe, the source weights) is reported as to do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from workbench.adaptation.analysis import find_analysis
from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.loaded_task import LoadedTask, load_task, settings_dict
from workbench.adaptation.preparation import Call, check_call
from workbench.adaptation.run_keys import protocol_key
from workbench.adaptation.source_and_target import load_source_images
from workbench.adaptation.source_training import source_task_of
from workbench.adaptation.steps import Step, steps_of
from workbench.adaptation.training_jobs import source_job
from workbench.compression.costs import count_costs
from workbench.data.folder_images import Say
from workbench.data.location import data_folder, is_present
from workbench.models.networks import build_network
from workbench.reporting.tables import count
from workbench.store.addresses import store_exists
from workbench.store.mlflow_store import Store
from workbench.store.recorder import FINGERPRINT, Recorder
from workbench.store.runs import StoredRun
from workbench.store.unfinished_work import open_work
from workbench.training.progress import Display
from workbench.training.protocols import PROTOCOLS, TEACHER, TEACHER_SEED

DONE, TO_DO = "done", "to do"


@dataclass(frozen=True)
class _Found:
    """What is known at a step: results of earlier steps that are in the store.

    Attributes:
        loaded: the task with its images; None when they are not on this machine.
        recorder: of the store as it is; None when there is none.
        weights: fingerprint of the source weights.
        analysis: the recorded analysis.
    """

    call: Call
    loaded: LoadedTask | None
    recorder: Recorder | None
    weights: str | None
    analysis: Analysis | None = None


def preview(*, display: Display | None = None, **options: Any) -> dict[str, Any]:
    """The plan of an adaptation as plain data.

    Args:
        display: takes warnings.
        **options: those of ``pipeline.adapt``.

    Returns:
        ``settings``, ``full_network`` (parameters and FLOPs), ``data`` ("present" or not), and
        ``steps``: a list of step, state ("done" or "to do") and the finished run's id.

    Raises:
        WorkbenchError: for the mistakes that ``adapt`` would report before its work.
    """
    say = (display or Display()).say
    call = check_call(options)
    task = call.task
    folder = data_folder(task.settings.what.data_dir)
    present = all(is_present(name, folder) for name in task.known_sets)
    recorder = _reader(call) if present else None  # a wrong store is found before images are read
    loaded = load_task(task, call.processor, say) if present else None
    weights = call.given.fingerprint if call.given else None
    found = _Found(call, loaded, recorder, weights)
    steps: list[dict[str, Any]] = []
    for step in steps_of(task):
        found, lines = _look_up(step, found, say)
        steps += lines
    classes, own = len(task.domain.classes), task.domain.folder
    full = count_costs(build_network(task.model, task.source.shape, classes), task.source.shape)
    return {
        "settings": settings_dict(task, call.processor, found.loaded),
        "data": {
            "folder": str(own.path if own else folder),
            "present": present,
            "images": task.domain.images(),
        },
        "full_network": {"parameters": full.parameters, "flops": full.flops},
        "steps": steps,
    }


def preview_lines(plan: dict[str, Any]) -> list[str]:
    """The plan as text, a line each."""
    settings, data, full = plan["settings"], plan["data"], plan["full_network"]
    train, test = data["images"]
    training = settings["plan"]
    fine = settings["fine_plan"]["learning_rate"]
    origin = settings.get("images", {}).get("from", settings["source"])
    there = "present" if data["present"] else "not there yet: adapt fetches it"
    lines = [
        f"target      {settings['target']} of {origin}: "
        f"{len(settings['classes'])} classes, {train:,} training and {test:,} test images",
        f"data        {data['folder']} ({there})",
        f"network     {settings['model']}: {count(full['parameters'])} parameters, "
        f"{count(full['flops'])} FLOPs an image before compression",
        f"training    {training['epochs']} epochs, {training['schedule']} schedule, learning rate "
        f"{training['learning_rate']:g} (fine: {fine:g}), batch {training['batch_size']}, "
        f"weight decay {training['weight_decay']:g}",
        f"processor   {settings['device']}, {settings['precision']}, {settings['threads']} threads",
        "",
    ]
    for step in plan["steps"]:
        run = f"  run {step['run_id']}" if step["run_id"] else ""
        lines.append(f"{step['state']:6}  {step['step']}{run}")
    open_steps = sum(step["state"] != DONE for step in plan["steps"])
    lines += ["", f"{open_steps} of {len(plan['steps'])} steps to do; nothing was changed"]
    return lines


def _reader(call: Call) -> Recorder | None:
    """A recorder on the store as it is, None when there is no store or experiment yet."""
    task, record = call.task, call.task.settings.record
    if record.fresh or not store_exists(record.tracking_uri):
        return None
    store = Store(record.tracking_uri)
    experiment = store.experiments().get(task.source.name)
    if experiment is None:
        return None
    work = open_work(record.output, record.tracking_uri)
    return Recorder(store, experiment, work, call.processor, Display())


def _look_up(step: Step, found: _Found, say: Say) -> tuple[_Found, list[dict[str, Any]]]:
    """What the store has of one step, and its lines: one a seed, one for a step without seeds."""
    if step.kind == "source":
        run = _source_run(found, say)
        weights = run.tags.get(FINGERPRINT) if run else None
        return replace(found, weights=weights), [_line(step.title, run)]
    if step.kind == "analysis":
        run, analysis = _analysis_run(found)
        return replace(found, analysis=analysis), [_line(step.title, run)]
    if step.kind == "teacher":
        return found, [_line(step.title, _protocol_run(step, TEACHER_SEED, found))]
    return found, [
        _line(f"{step.title}, seed {seed}", _protocol_run(step, seed, found)) for seed in step.seeds
    ]


def _source_run(found: _Found, say: Say) -> StoredRun | None:
    if found.recorder is None:
        return None
    source, what = source_task_of(found.call.task), found.call.task.settings.what
    images = load_source_images(source.source, data_folder(what.data_dir), what.strict, say)
    return found.recorder.find(source_job(source, found.call.processor, *images).key)


def _analysis_run(found: _Found) -> tuple[StoredRun | None, Analysis | None]:
    if found.loaded is None or found.recorder is None or found.weights is None:
        return None, None
    return find_analysis(found.loaded, found.weights, found.recorder) or (None, None)


def _protocol_run(step: Step, seed: int, found: _Found) -> StoredRun | None:
    protocol = step.protocol
    if protocol is None or found.loaded is None or found.recorder is None:
        return None
    if (protocol.inherited and not found.weights) or (protocol.compressed and not found.analysis):
        return None
    weights, teacher = found.weights or "", ""
    if protocol.distilled:
        key = protocol_key(found.loaded, PROTOCOLS[TEACHER], TEACHER_SEED, weights, None)
        followed = found.recorder.find(key)
        teacher = followed.tags[FINGERPRINT] if followed else ""
    key = protocol_key(found.loaded, protocol, seed, weights, found.analysis, teacher)
    return found.recorder.find(key)


def _line(title: str, run: StoredRun | None) -> dict[str, Any]:
    run_id = run.run_id if run else None
    return {"step": title, "state": DONE if run else TO_DO, "run_id": run_id}
