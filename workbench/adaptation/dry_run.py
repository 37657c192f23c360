"""``--dry-run``: the steps of an adaptation, and which of them are already done.

Nothing is downloaded, created or written. A step that depends on a missing result (the recipe, the
source weights) is reported as to do.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from workbench.adaptation.preparation import Call, check_call, notes
from workbench.adaptation.steps.recorded_steps import states_of
from workbench.adaptation.steps.time_needed import (
    TimeNeeded,
    may_take_long,
    time_lines,
    time_needed,
)
from workbench.adaptation.tasks.loaded_task import load_task, settings_dict
from workbench.compression.costs.costs import count_costs
from workbench.data.data_folder import data_folder, is_present
from workbench.errors import counted
from workbench.models.networks import build_network
from workbench.reporting.tables import count
from workbench.store.mlflow_store import Store
from workbench.store.recorder import Recorder
from workbench.store.tracking_uris import store_exists
from workbench.store.unfinished_work import open_work
from workbench.training.progress import Display

DONE, TO_DO = "done", "to do"


def preview(*, display: Display | None = None, **options: Any) -> dict[str, Any]:
    """The plan of an adaptation as plain data.

    Args:
        display: shows warnings; None shows none.
        **options: the options of ``pipeline.adapt``.

    Returns:
        A dictionary with the keys ``settings``; ``data`` (folder, whether it is present, and the
        numbers of images); ``full_network`` (parameters and FLOPs); ``steps``, a list with each
        step, its state ("done" or "to do") and the id of its finished run; and ``time``, the
        fields of ``time_needed.TimeNeeded``.

    Raises:
        WorkbenchError: for every error that ``adapt`` would report before it starts to work.
    """
    say = (display or Display()).say
    call = check_call(options)
    task = call.task
    for line in notes(task):
        say(line)
    folder = data_folder(task.settings.what.data_dir)
    present = all(is_present(name, folder) for name in task.known_sets)
    recorder = _reader(call) if present else None  # report a bad store before reading images
    loaded = load_task(task, call.processor, say) if present else None
    states = states_of(call, loaded, recorder, say)
    classes, own = len(task.domain.classes), task.domain.folder
    full = count_costs(build_network(task.model, task.source.shape, classes), task.source.shape)
    return {
        "settings": settings_dict(task, call.processor, loaded),
        "data": {
            "folder": str(own.path if own else folder),
            "present": present,
            "images": task.domain.images(),
        },
        "full_network": {"parameters": full.parameters, "flops": full.flops},
        "steps": [
            {
                "step": state.title,
                "state": DONE if state.run else TO_DO,
                "run_id": state.run.run_id if state.run else None,
            }
            for state in states
        ],
        "time": asdict(time_needed(call, states) if may_take_long(call) else TimeNeeded()),
    }


def subject_lines(plan: dict[str, Any]) -> list[str]:
    """Lines about the target, the network and the training of a plan."""
    settings, data, full = plan["settings"], plan["data"], plan["full_network"]
    train, test = data["images"]
    training = settings["plan"]
    fine = settings["fine_plan"]["learning_rate"]
    origin = settings.get("images", {}).get("from", settings["source"])
    threads = settings["threads"]
    there = "present" if data["present"] else "not on this machine; 'workbench adapt' downloads it"
    return [
        f"target      {settings['target']} of {origin}: "
        f"{len(settings['classes'])} classes, {train:,} training and {test:,} test images",
        f"data        {data['folder']} ({there})",
        f"network     {settings['model']}: {count(full['parameters'])} parameters, "
        f"{count(full['flops'])} FLOPs per image before compression",
        f"training    {counted(training['epochs'], 'epoch')}, {training['schedule']} schedule, "
        f"learning rate {training['learning_rate']:g} (fine: {fine:g}), "
        f"batch {training['batch_size']}, weight decay {training['weight_decay']:g}"
        f"{_regularisers(training)}",
        f"processor   {settings['device']}, {settings['precision']}, {counted(threads, 'thread')}",
    ]


def preview_lines(plan: dict[str, Any]) -> list[str]:
    """The plan as lines of text."""
    lines = [*subject_lines(plan), ""]
    for step in plan["steps"]:
        run = f"  run {step['run_id']}" if step["run_id"] else ""
        lines.append(f"{step['state']:6}  {step['step']}{run}")
    open_steps = sum(step["state"] != DONE for step in plan["steps"])
    lines += ["", *time_lines(TimeNeeded(**plan["time"]))]
    lines += [f"{open_steps} of {len(plan['steps'])} steps to do; nothing was changed"]
    return lines


def _regularisers(plan: dict[str, Any]) -> str:
    """The options of a plan that are used, as the end of a line."""
    names = (
        "ema", "label_smoothing", "mixup", "cutmix", "scale_dropout", "orthogonality", "norm_parts",
    )  # fmt: skip
    used = {name: plan[name] for name in names if name in plan}
    return "".join(
        f", {name.replace('_', ' ')}" + ("" if value is True else f" {value:g}")
        for name, value in used.items()
    )


def _reader(call: Call) -> Recorder | None:
    """A recorder for the existing store; None without store or experiment, or with --fresh."""
    task, record = call.task, call.task.settings.record
    if record.fresh or not store_exists(record.tracking_uri):
        return None
    store = Store(record.tracking_uri)
    experiment = store.experiments().get(task.source.name)
    if experiment is None:
        return None
    work = open_work(record.output, record.tracking_uri)
    return Recorder(store, experiment, work, call.processor, Display())
