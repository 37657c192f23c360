"""``--dry-run``: what an adaptation would do, and what of it is done already.

Nothing is downloaded, created or written. What depends on a result that is not there yet (the
recipe, the source weights) is said to be unknown.
"""

from __future__ import annotations

from typing import Any

from workbench.analysis import find_analysis
from workbench.compression.costs import count_costs
from workbench.data.folder_images import Say
from workbench.data.location import data_folder, is_present
from workbench.display import Display
from workbench.jobs import protocol_key, source_job
from workbench.models.networks import build_network
from workbench.pipeline import check_call, open_work
from workbench.planning import SourceTask, Task
from workbench.processor import Processor
from workbench.protocols import PROTOCOLS, TEACHER, TEACHER_SEED
from workbench.recording import FINGERPRINT, Recorder
from workbench.report import count
from workbench.runs import StoredRun
from workbench.sources import load_source_images
from workbench.stores import store_exists
from workbench.subject import Subject, load_subject, settings_dict
from workbench.tracking import Store

DONE, TO_DO = "done", "to do"


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
    task, processor, given = check_call(options)
    folder = data_folder(task.settings.data_dir)
    present = all(is_present(name, folder) for name in task.known_sets)
    recorder = _reader(task, processor) if present else None
    weights: str | None = given.fingerprint if given else None
    steps: list[dict[str, Any]] = []
    if not given:
        weights, steps = _source_step(task, processor, recorder, say)
    subject = load_subject(task, processor, say) if present else None
    steps += _steps(task, subject, weights, recorder)
    classes, own = len(task.domain.classes), task.domain.folder
    full = count_costs(build_network(task.model, task.source.shape, classes), task.source.shape)
    return {
        "settings": settings_dict(task, processor, subject),
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


def _reader(task: Task, processor: Processor) -> Recorder | None:
    """A recorder on the store as it is, None when there is no store or experiment yet."""
    settings = task.settings
    if settings.fresh or not store_exists(settings.tracking_uri):
        return None
    store = Store(settings.tracking_uri)
    experiment = store.experiments().get(task.source.name)
    if experiment is None:
        return None
    work = open_work(settings.output, settings.tracking_uri)
    return Recorder(store, experiment, work, processor, Display())


def _source_step(
    task: Task, processor: Processor, recorder: Recorder | None, say: Say
) -> tuple[str | None, list[dict[str, Any]]]:
    """Fingerprint of the source weights if they are there, and the step that makes them."""
    name = f"source training: {task.source.name}, {task.source_plan.epochs} epochs"
    if recorder is None:
        return None, [_step(name, None)]
    folder = data_folder(task.settings.data_dir)
    source = SourceTask(task.trained_on, task.model, task.source_plan)
    images = load_source_images(source.source, folder, task.settings.strict, say)
    job = source_job(source, processor, *images)
    run = recorder.find(job.key)
    return (run.tags.get(FINGERPRINT) if run else None), [_step(name, run)]


def _steps(
    task: Task, subject: Subject | None, weights: str | None, recorder: Recorder | None
) -> list[dict[str, Any]]:
    """Analysis and every training, with the run in which it is done."""
    found = find_analysis(subject, weights, recorder) if subject and recorder and weights else None
    run, analysis = found or (None, None)
    steps = [_step(f"analysis: {task.settings.method}", run)]
    if task.settings.distils and TEACHER not in task.settings.protocols:
        found_teacher = _teacher(subject, recorder, weights) if subject and recorder else None
        steps.append(_step(f"teacher: {TEACHER}, seed {TEACHER_SEED}", found_teacher))
    for name in task.settings.protocols:
        protocol = PROTOCOLS[name]
        known = (weights or not protocol.inherited) and (analysis or not protocol.compressed)
        for seed in task.settings.seed_range:
            run = None
            if subject and recorder and known:
                teacher = ""
                if protocol.distilled and (done := _teacher(subject, recorder, weights)):
                    teacher = done.tags[FINGERPRINT]
                key = protocol_key(subject, protocol, seed, weights or "", analysis, teacher)
                run = recorder.find(key)
            steps.append(_step(f"{name}, seed {seed}", run))
    return steps


def _teacher(subject: Subject, recorder: Recorder, weights: str | None) -> StoredRun | None:
    """The training of the network that is followed, if it is done."""
    key = protocol_key(subject, PROTOCOLS[TEACHER], TEACHER_SEED, weights or "", None)
    return recorder.find(key)


def _step(name: str, run: StoredRun | None) -> dict[str, Any]:
    run_id = run.run_id if run else None
    return {"step": name, "state": DONE if run else TO_DO, "run_id": run_id}
