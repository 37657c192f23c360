"""Find the cheapest network that is accurate enough, and train it on all images.

The search works on a validation split of the target's training images. The chosen network is then
trained on all of them by an ordinary adaptation, which reads the test images once.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import fields
from typing import Any

from workbench.adaptation.options.option_files import TYPES, Types, types_of
from workbench.adaptation.pipeline import adapt
from workbench.adaptation.plans.run_keys import adapt_key
from workbench.adaptation.preparation import Prepared, check_call, prepare
from workbench.adaptation.results.run_report import attach_report
from workbench.adaptation.steps.step_work import guessed_sizes
from workbench.adaptation.tasks.source_and_target import shared_images
from workbench.adaptation.tasks.task import Task
from workbench.adaptation.trainings.source_training import train_source
from workbench.compression.method_names import GATES, reads
from workbench.compression.recipes.recipe_settings import ONNX_INT8
from workbench.deployment.stage_names import INT8
from workbench.errors import SettingsError
from workbench.experiments.engines.adaptations import adapt_with
from workbench.experiments.engines.engine_settings import EngineSettings
from workbench.experiments.engines.engine_table import OpenEngine, open_engine
from workbench.experiments.network_search.candidates import Candidate, candidate_grid
from workbench.experiments.network_search.search import Clock, find
from workbench.experiments.network_search.search_forecast import Plan, expected_steps
from workbench.experiments.network_search.search_page import search_page
from workbench.experiments.network_search.search_record import write_search
from workbench.experiments.network_search.search_result import Search
from workbench.experiments.network_search.search_settings import USUAL_SELECTION, SearchSettings
from workbench.experiments.network_search.trial_cells import TrialRunner
from workbench.experiments.network_search.trials import Trials
from workbench.reporting.report.html import render
from workbench.reporting.results import Adaptation
from workbench.store.keys import key_of
from workbench.store.stored_results import REPORT_FILE
from workbench.training.progress import Display
from workbench.training.progress import Plan as Steps
from workbench.training.time_left import TRAINING, PlannedStep, training_work

_SEARCHED = tuple(each.name for each in fields(SearchSettings))
#: Options of ``adapt`` that the search itself sets.
_CHOSEN = (
    "method", "recipe", "recipe_file", "footprint", "flops", "params", "latency_ms", "energy",
    "protocols", "stages", "steps", "prefer", "keep_weights", "repair_epochs",
    "gate_epochs", "gate_penalty",
    "objective", "teacher", "generations", "assistant", "temperature", "distill_weight",
)  # fmt: skip


def shrink(
    *, display: Display | None = None, engine: EngineSettings | None = None, **options: Any
) -> Search:
    """Find the cheapest network within the tolerance of the full one, and train it.

    Args:
        display: shows progress and messages; None shows nothing.
        engine: runs trials that do not depend on each other at the same time; None runs all of
            them in this process.
        **options: the fields of ``SearchSettings``, and those options of ``adapt`` that do not set
            the size of the network. ``tolerance`` is the number of percentage points that the
            network may be less accurate than the full one on the validation images.

    Returns:
        All trials, the chosen network, and its adaptation.

    Raises:
        WorkbenchError: for every error that the user can fix; see ``workbench.errors``.
    """
    display = display or Display()
    search, options = checked_options(options)
    with open_engine(engine, options) if engine else nullcontext() as opened:
        return _shrink(search, options, display, opened)


def _shrink(
    search: SearchSettings, options: dict[str, Any], display: Display, engine: OpenEngine | None
) -> Search:
    compared = {**options, "validation": search.validation}
    # Candidates differ in method and budget. Any one could stand for all when the task is
    # prepared; this one is part of the keys of recorded searches.
    first = next((name for name in search.recipes if "zeros" in reads(name)), search.recipes[0])
    own = Candidate(search.budgets[0], first).options(search.budget)
    prepared = prepare({**compared, **own}, display, several_sizes=True)
    steps = _steps(prepared, search) if display.is_watched else []
    with display.plan(steps) as plan:
        return _search(prepared, search, compared, options, plan, engine)


def checked_options(options: dict[str, Any]) -> tuple[SearchSettings, dict[str, Any]]:
    """The settings of the search, and the options of ``adapt`` that all its networks share.

    Raises:
        WorkbenchError: for every error that the user can fix.
    """
    options = {name: value for name, value in options.items() if value is not None}
    if not options.get("recipes"):
        options.setdefault("selection", USUAL_SELECTION)
    search = SearchSettings.of(**{k: options.pop(k) for k in _SEARCHED if k in options})
    _check(search, options)
    compared = {**options, "validation": search.validation}
    for method in search.recipes:
        check_call({**compared, **Candidate(search.budgets[0], method).options(search.budget)})
    return search, options


def file_types() -> Types:
    """The options that a file for ``shrink --config`` may have, and their types."""
    shared = {name: kinds for name, kinds in TYPES["adapt"].items() if name not in _CHOSEN}
    return {**shared, **types_of(SearchSettings)}


def _search(
    prepared: Prepared,
    search: SearchSettings,
    compared: dict[str, Any],
    options: dict[str, Any],
    plan: Steps,
    engine: OpenEngine | None,
) -> Search:
    """Train the source network, search, and train the chosen network.

    Args:
        compared: options of the trials.
        options: options of the chosen network.
    """
    task, recorder = prepared.call.task, prepared.recorder
    display = recorder.display
    with plan.step():
        source = prepared.call.given or train_source(task, prepared.call.processor, recorder)
    key = _key(prepared, search)
    waiting = "another process runs the same search; waiting for it"
    with recorder.work.lock(key, lambda: display.say(waiting)):
        title = f"shrink · {task.domain.name} · {task.model}"
        parent, finished = recorder.open_parent(key, title, _params(task, search), "shrink")
        with nullcontext() if finished else recorder.closing(parent):
            plan.limit(search.seconds)
            runner = TrialRunner(engine) if engine else None
            trials = Trials(prepared, source, compared, search, parent, runner)
            clock = Clock(search.seconds)
            with plan.step():
                found = find(trials, search, _plan(task), clock, display, trials.work)
            with plan.step():
                adaptation = _train(found.chosen, search, options, display, engine)
                store = recorder.store
                report = store.run(parent).artifact(REPORT_FILE)
                chosen = {**search.chosen(), "selection": options.get("selection")}
                result = Search(found, adaptation, chosen, parent, store.shown, report)
                write_search(result, recorder)
                attach_report(store, parent, render(search_page(store, store.run(parent), None)))
    return result


def _steps(prepared: Prepared, search: SearchSettings) -> list[PlannedStep]:
    """The source network, the search and the training of the chosen network, with their work."""
    task, images = prepared.call.task, len(prepared.loaded.train)
    sizes = guessed_sizes(task)
    learned = sum(task.trained_on.train_images)
    source = training_work(sizes.source, learned, task.source_plan.epochs)
    given = task.settings.what.weights is not None

    def work(candidate: Candidate, epochs: int) -> float:
        return training_work(candidate.share * sizes.full, images, epochs)

    grid, plan = candidate_grid(search.recipes, search.budgets), _plan(task)
    trials = sum(step.to_do for step in expected_steps(grid, search, plan, work))
    # The chosen network and the full one are trained on all images.
    last = len(plan.seeds) * work(Candidate(1.5, ""), plan.epochs) / (1 - search.validation)
    return [
        PlannedStep("source network", {} if given else {TRAINING: source}),
        PlannedStep("search", {TRAINING: trials}),
        PlannedStep("chosen network", {TRAINING: last}),
    ]


def _check(search: SearchSettings, options: dict[str, Any]) -> None:
    problems = search.problems()
    problems += [
        f"--{name.replace('_', '-')} is chosen by the search; leave it out, or use 'workbench "
        "adapt'"
        for name in _CHOSEN
        if name in options
    ]
    if options.get("selection") in GATES:
        problems.append(
            f"--selection {options['selection']}: trains gates in the full network, which a search "
            "of many short trials does not do; leave it out"
        )
    if problems:
        raise SettingsError(*problems)


def _key(prepared: Prepared, search: SearchSettings) -> str:
    """Key of the search; its time is not a part, so a call with more time continues the search."""
    parts = {"adapt": adapt_key(prepared.loaded, prepared.call.given), "search": search.chosen()}
    return key_of("shrink", parts)


def _params(task: Task, search: SearchSettings) -> dict[str, object]:
    return {
        "domain": task.domain.name,
        "source": task.source.name,
        "model": task.model,
        "protocol": "shrink",
        "cost": search.cost,
        "runtime": search.runtime,
        "tolerance": task.settings.what.tolerance,
    }


def _plan(task: Task) -> Plan:
    """How trials are trained; the source has seen the validation images of its own data set."""
    return Plan(
        epochs=task.fine_plan.epochs,
        seeds=task.settings.training.seed_range,
        tolerance=task.settings.what.tolerance / 100,
        seen=_has_seen(task),
    )


def _has_seen(task: Task) -> bool:
    """Whether the source network was trained on the target's training images."""
    domain, source = task.domain, task.trained_on
    if domain.folder is None or source.folder is None:
        return domain.folder is source.folder and domain.source == source.name
    return shared_images(source, domain, "train") > 0


def _train(
    chosen: Candidate,
    search: SearchSettings,
    options: dict[str, Any],
    display: Display,
    engine: OpenEngine | None,
) -> Adaptation:
    """Train the chosen and the full network on all training images, and test them."""
    protocols = ("full-fine", "pfa-fine") if chosen.method else ("full-fine",)
    stages = {"stages": (INT8,)} if search.runtime == ONNX_INT8 else {}
    own = {**options, **chosen.options(search.budget), **stages, "protocols": protocols}
    # The report of the search includes that of its adaptation.
    if engine:
        return adapt_with(engine, display, own, fresh_source=False, store_report=False)
    return adapt(display=display, fresh_source=False, store_report=False, **own)
