"""The main job: source -> responses -> recipe -> protocols -> verdict.

``adapt`` executes all steps; ``analyze`` stops at the recipe. Where other processes do the
trainings, ``begin`` comes before them and ``finish`` after them. Every training and analysis goes
through ``store.recorder``, which reuses recorded results.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from workbench.adaptation.analysis.recipe_output import write_recipe
from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.options.recorded_options import adaptation_options, recorded_inputs
from workbench.adaptation.plans.run_keys import adapt_key
from workbench.adaptation.preparation import Prepared, prepare
from workbench.adaptation.results.latency_runs import measure_runtimes
from workbench.adaptation.results.summary import (
    conclude,
    has_report,
    is_concluded,
    write_conclusion,
)
from workbench.adaptation.stages.stage_runs import check_stages
from workbench.adaptation.stages.stage_work import NetworkSizes
from workbench.adaptation.steps.recorded_steps import StepState, states_of
from workbench.adaptation.steps.step_work import guessed_sizes, planned_steps
from workbench.adaptation.steps.steps import steps_of
from workbench.adaptation.steps.time_needed import may_take_long, time_lines, time_needed
from workbench.adaptation.tasks.task import Task
from workbench.adaptation.trainings.gate_runs import train_gates
from workbench.adaptation.trainings.iterative_pfa import analyse_in_steps
from workbench.adaptation.trainings.protocol_run_sets import ProtocolRuns
from workbench.adaptation.trainings.protocol_runs import run_protocol
from workbench.adaptation.trainings.repair_training import repair
from workbench.adaptation.trainings.source_training import train_source
from workbench.adaptation.trainings.teacher_chains import full_fine
from workbench.compression.recipes.recipe_files import SUFFIXES
from workbench.compression.recipes.recipes import Recipe
from workbench.data.user_paths import check_new_file, user_path
from workbench.errors import SettingsError
from workbench.reporting.results import Adaptation
from workbench.store.recorder import Recorder
from workbench.store.runs import RUNNING, StoredRun
from workbench.store.stored_results import OPTIONS_FILE, has_artifact, has_options
from workbench.training.progress import Display, Plan
from workbench.training.time_left import PlannedStep


@dataclass(frozen=True)
class Begun:
    """An adaptation with an open run, whose trainings other processes record.

    Attributes:
        prepared: its images and its store.
        finished: whether an earlier call has finished the adaptation.
    """

    prepared: Prepared
    run_id: str
    finished: bool


def begin(prepared: Prepared) -> Begun:
    """Open the run of an adaptation, before other processes train its networks."""
    key = adapt_key(prepared.loaded, prepared.call.given)
    with prepared.recorder.work.lock(key):
        return _open(prepared, key)


def finish(begun: Begun, *, store_report: bool = True) -> Adaptation:
    """Finish an adaptation whose trainings are recorded: ``fresh`` has no effect any more.

    It evaluates the untrained networks, makes the stages and writes the verdict.

    Args:
        store_report: as for ``adapt``.

    Raises:
        WorkbenchError: for every error that the user can fix; see ``workbench.errors``.
    """
    prepared = begun.prepared
    prepared = replace(prepared, recorder=replace(prepared.recorder, fresh=False))
    begun = replace(begun, prepared=prepared)
    states = _states(prepared) if prepared.recorder.display.is_watched else []
    key = adapt_key(prepared.loaded, prepared.call.given)
    with _locked(prepared, key):
        return _adapt(begun, states, store_report=store_report)


def adapt(
    *,
    display: Display | None = None,
    fresh_source: bool = True,
    store_report: bool = True,
    **options: Any,
) -> Adaptation:
    """Specialise a network for a target domain and report accuracies and costs.

    Args:
        display: shows progress and messages; None shows nothing.
        fresh_source: whether ``fresh`` also trains the source network again.
        store_report: whether the run gets a report of about 1.5 MB. One that it has is kept up to
            date in any case.
        **options: the fields of the groups of ``settings.Settings``.

    Returns:
        The recipe, the results of every protocol, and the verdict.

    Raises:
        WorkbenchError: for every error that the user can fix; see ``workbench.errors``.
    """
    display = display or Display()
    prepared = prepare(options, display)
    states = _states(prepared) if display.is_watched else []
    _announce(prepared, states)
    key = adapt_key(prepared.loaded, prepared.call.given)
    with _locked(prepared, key):
        begun = _open(prepared, key)
        return _adapt(begun, states, fresh_source=fresh_source, store_report=store_report)


def _locked(prepared: Prepared, key: str) -> AbstractContextManager[None]:
    """Hold the lock of an adaptation."""
    recorder = prepared.recorder
    waiting = "another process runs the same adaptation; waiting for it"
    return recorder.work.lock(key, lambda: recorder.display.say(waiting))


def _open(prepared: Prepared, key: str) -> Begun:
    """Open the run of an adaptation; the caller holds its lock."""
    task = prepared.call.task
    return Begun(prepared, *prepared.recorder.open_parent(key, task.title, task.params()))


def _adapt(
    begun: Begun, states: Sequence[StepState], *, fresh_source: bool = True, store_report: bool
) -> Adaptation:
    """Execute all steps and write the verdict; the caller holds the adaptation's lock."""
    prepared, parent, finished = begun.prepared, begun.run_id, begun.finished
    task, loaded, recorder = prepared.call.task, prepared.loaded, prepared.recorder
    run = recorder.store.run(parent)
    if not finished and run.status != RUNNING:  # it was ended by an error, or by another process
        recorder.store.reopen(run, task.params())
    _store_options(recorder, run, task)
    with (
        nullcontext() if finished else recorder.closing(parent),
        recorder.display.plan(_planned(prepared, states)) as plan,
    ):
        analysis, done = _execute(prepared, parent, fresh_source, plan, states)
        runs = [done[name] for name in task.protocols]
        with plan.step():
            latencies = measure_runtimes(loaded, analysis, runs, recorder, parent)
            adaptation = conclude(loaded, analysis, runs, latencies, recorder, parent)
            if not store_report and not has_report(recorder, parent):
                adaptation = replace(adaptation, report="")
            new = not finished or adaptation.trained or analysis.measured
            if new or not is_concluded(recorder, adaptation):
                write_conclusion(adaptation, analysis, loaded, runs, recorder, parent)
    return adaptation


def analyze(*, display: Display | None = None, **options: Any) -> Recipe:
    """Measure the target's responses and make the recipe; no protocol is trained.

    The source network is trained first if no weights are given and no training is recorded.
    Arguments and errors are those of ``adapt``.
    """
    return predict_costs(display=display, **options).recipe


def predict_costs(
    *, display: Display | None = None, out: Path | str | None = None, **options: Any
) -> Analysis:
    """Run ``analyze`` and return also the costs of the full and the compressed network.

    Arguments and errors are those of ``analyze``.

    Args:
        out: recipe file to write (.yaml or .json); it must not exist.
    """
    display = display or Display()
    path = None if out is None else check_new_file(user_path(out), "--out", *SUFFIXES)
    prepared = prepare(options, display)
    recipe = prepared.call.task.settings.recipe
    if path is not None and recipe.factorises:
        raise SettingsError(
            f"--out {path}: a recipe file says which filters stay, and --method {recipe.method} "
            "keeps all; use --json"
        )
    if not options.get("compensate"):
        prepared = _without_compensation(prepared)
    call, recorder = prepared.call, prepared.recorder
    kinds = ("source", "gates", "analysis")
    states = _states(prepared) if display.is_watched else []
    states = [state for state in states if state.step.kind in kinds]
    _announce(prepared, [state for state in states if state.step.kind == "source"])
    with display.plan(_planned(prepared, states)[:-1]) as plan:  # there is no verdict
        source = call.given
        if source is None:
            with plan.step():
                source = train_source(call.task, call.processor, recorder)
        if call.task.gates:
            with plan.step():
                train_gates(prepared.loaded, source, recorder, None)
        with plan.step():
            analysis = analyse_in_steps(prepared.loaded, source, recorder, None)
    if path is not None:
        write_recipe(path, call.task, analysis)
    return analysis


def _without_compensation(prepared: Prepared) -> Prepared:
    """The same call without ``--compensate``: a recipe does not depend on corrected weights."""
    task = prepared.call.task
    recipe = replace(task.settings.recipe, compensate=False)
    task = replace(task, settings=replace(task.settings, recipe=recipe))
    call, loaded = replace(prepared.call, task=task), replace(prepared.loaded, task=task)
    return replace(prepared, call=call, loaded=loaded)


def _store_options(recorder: Recorder, run: StoredRun, task: Task) -> None:
    """Write the files that repeat an adaptation, unless its run has them completely."""
    options = adaptation_options(task)
    if not has_options(recorder.store, run, OPTIONS_FILE, options):
        recorder.store.attach_text(run.run_id, OPTIONS_FILE, options)
    for name, text in recorded_inputs(task).items():
        if not has_artifact(recorder.store, run, name, text):
            recorder.store.attach_text(run.run_id, name, text)


def _states(prepared: Prepared) -> list[StepState]:
    """The states of the steps in the store, without warnings, which loading has printed."""
    recorder = None if prepared.recorder.fresh else prepared.recorder
    return states_of(prepared.call, prepared.loaded, recorder, lambda line: None)


def _announce(prepared: Prepared, states: Sequence[StepState]) -> None:
    """Report how long the trainings will take if that is more than five minutes."""
    display = prepared.recorder.display
    if display.quiet or not may_take_long(prepared.call):
        return
    needed = time_needed(prepared.call, states)
    for line in time_lines(needed) if needed.long else ():
        display.say(line)


def _planned(
    prepared: Prepared, states: Sequence[StepState], analysis: Analysis | None = None
) -> list[PlannedStep]:
    """The steps with their work; none if nobody watches."""
    if not states:
        return []
    sizes = guessed_sizes(prepared.call.task)
    if analysis is not None:
        sizes = NetworkSizes(sizes.source, analysis.full.flops, analysis.compressed.flops)
    return planned_steps(prepared.loaded, states, sizes)


def _execute(
    prepared: Prepared,
    parent: str,
    fresh_source: bool,
    plan: Plan,
    states: Sequence[StepState],
) -> tuple[Analysis, dict[str, ProtocolRuns]]:
    """Execute all steps and return the analysis and the runs of each protocol by its name."""
    call, loaded, recorder = prepared.call, prepared.loaded, prepared.recorder
    source, analysis = call.given, None
    done: dict[str, ProtocolRuns] = {}
    for step in steps_of(call.task):
        with plan.step():
            if step.kind == "source":
                own = recorder if fresh_source else replace(recorder, fresh=False)
                source = train_source(call.task, call.processor, own)
                continue
            assert source is not None  # given, or trained by the first step
            if step.kind == "gates":
                train_gates(loaded, source, recorder, parent)
                continue
            if step.kind == "analysis":
                analysis = analyse_in_steps(loaded, source, recorder, parent)
                check_stages(loaded, analysis.recipe)
                plan.revise(partial(_planned, prepared, states, analysis))
                continue
            assert analysis is not None
            if step.kind == "repair":
                analysis = repair(loaded, source, analysis, recorder, parent)
                continue
            assert step.protocol is not None
            if step.kind == "teacher":
                full_fine(loaded, source, analysis, recorder, parent)
            elif step.kind == "protocol":  # which trains the links of its chain of teachers first
                done[step.protocol.name] = run_protocol(
                    loaded, step.protocol, step.seeds, source, analysis, recorder, parent
                )
    assert analysis is not None
    return analysis, done
