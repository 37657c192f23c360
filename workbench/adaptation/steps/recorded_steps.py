"""The states of an adaptation's steps, looked up in the store; nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workbench.adaptation.analysis.analysis import find_analysis
from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.plans.run_keys import analysis_key, gates_key, protocol_key, repair_key
from workbench.adaptation.preparation import Call
from workbench.adaptation.stages.stage_runs import stage_key, stages_after
from workbench.adaptation.steps.steps import Step, steps_of
from workbench.adaptation.tasks.loaded_task import LoadedTask
from workbench.adaptation.tasks.source_and_target import load_source_images
from workbench.adaptation.trainings.source_training import source_task_of
from workbench.adaptation.trainings.teacher_chains import find_link, find_teacher
from workbench.adaptation.trainings.training_jobs import source_job
from workbench.data.data_folder import data_folder
from workbench.data.folder_images import Say
from workbench.store.recorder import Recorder
from workbench.store.run_tags import FINGERPRINT
from workbench.store.runs import StoredRun
from workbench.training.protocols import TEACHER_SEED


@dataclass(frozen=True)
class StepState:
    """One step, or one seed of it.

    Attributes:
        title: its name on the screen.
        run: the finished run; None if the step is to do or its state is unknown.
        key: key of its run; None if earlier steps that determine it are to do.
        seed: the seed; None for a step without seeds.
        stage: name of the stage; empty for a step that is none.
    """

    step: Step
    title: str
    run: StoredRun | None
    key: str | None = None
    seed: int | None = None
    stage: str = ""


#: A key, and the finished run with this key; None where unknown or missing.
_KeyAndRun = tuple[str | None, StoredRun | None]


@dataclass(frozen=True)
class _Found:
    """Recorded results of earlier steps, which the next steps need.

    Attributes:
        loaded: the task with its images; None if they are not on this machine.
        recorder: recorder for the existing store; None if there is none.
        weights: fingerprint of the source weights; None if they are not trained yet.
        analysis: the recorded analysis; None if there is none.
    """

    call: Call
    loaded: LoadedTask | None
    recorder: Recorder | None
    weights: str | None
    analysis: Analysis | None = None


def states_of(
    call: Call, loaded: LoadedTask | None, recorder: Recorder | None, say: Say
) -> list[StepState]:
    """The steps in order, with one entry for each seed.

    Args:
        loaded: the task with its images; None if they are not on this machine.
        recorder: recorder for the existing store; None if there is none, or to ignore its results.
        say: called with each warning.
    """
    found = _Found(call, loaded, recorder, call.given.fingerprint if call.given else None)
    states: list[StepState] = []
    for step in steps_of(call.task):
        found, more = _look_up(step, found, say)
        states += more
    return states


def _look_up(step: Step, found: _Found, say: Say) -> tuple[_Found, list[StepState]]:
    """Look up one step in the store; return the results known after it and its states."""
    if step.kind == "source":
        key, run = _source_run(found, say)
        weights = run.tags.get(FINGERPRINT) if run else None
        return replace(found, weights=weights), [StepState(step, step.title, run, key)]
    if step.kind == "gates":
        key, run = _gates_run(found)
        return found, [StepState(step, step.title, run, key)]
    if step.kind == "analysis":
        key, run, analysis = _analysis_run(found)
        return replace(found, analysis=analysis), [StepState(step, step.title, run, key)]
    if step.kind == "repair":
        key, run = _repair_run(found)
        return found, [StepState(step, step.title, run, key)]
    if step.kind == "teacher":
        key, run = _protocol_run(step, TEACHER_SEED, found)
        return found, [StepState(step, step.title, run, key)]
    if step.kind == "link":
        return found, [StepState(step, step.title, _link_run(step, found))]
    states = []
    for seed in step.seeds:
        key, run = _protocol_run(step, seed, found)
        states.append(StepState(step, f"{step.title}, seed {seed}", run, key, seed))
        states += _stage_states(step, seed, run, found)
    return found, states


def _stage_states(
    step: Step, seed: int, origin: StoredRun | None, found: _Found
) -> list[StepState]:
    """The stages after one training."""
    states = []
    assert step.protocol is not None  # stages follow protocols only
    for stage in stages_after(found.call.task, step.protocol):
        run = None
        if origin is not None and found.loaded is not None and found.recorder is not None:
            key = stage_key(found.loaded, stage, origin)
            run = found.recorder.find(key)
        title = f"{stage.name} after {step.title}, seed {seed}"
        own = replace(step, kind="stage", title=title)
        states.append(StepState(own, title, run, stage=stage.name))
    return states


def _source_run(found: _Found, say: Say) -> _KeyAndRun:
    if found.recorder is None:
        return None, None
    source, what = source_task_of(found.call.task), found.call.task.settings.what
    images = load_source_images(source.source, data_folder(what.data_dir), what.strict, say)
    return _find(source_job(source, found.call.processor, *images).key, found.recorder)


def _find(key: str, recorder: Recorder) -> _KeyAndRun:
    return key, recorder.find(key)


def _analysis_run(found: _Found) -> tuple[str | None, StoredRun | None, Analysis | None]:
    if found.loaded is None or found.recorder is None or found.weights is None:
        return None, None, None
    key = analysis_key(found.loaded, found.weights)
    run, analysis = find_analysis(found.loaded, found.weights, found.recorder) or (None, None)
    return key, run, analysis


def _gates_run(found: _Found) -> _KeyAndRun:
    if found.loaded is None or found.recorder is None or found.weights is None:
        return None, None
    return _find(gates_key(found.loaded, found.weights), found.recorder)


def _repair_run(found: _Found) -> _KeyAndRun:
    if found.loaded is None or found.recorder is None:
        return None, None
    if found.weights is None or found.analysis is None:
        return None, None
    key = repair_key(found.loaded, found.weights, found.analysis.recipe)
    return _find(key, found.recorder)


def _protocol_run(step: Step, seed: int, found: _Found) -> _KeyAndRun:
    protocol = step.protocol
    if protocol is None or found.loaded is None or found.recorder is None:
        return None, None
    if (protocol.inherited and not found.weights) or (protocol.compressed and not found.analysis):
        return None, None
    weights, analysis, recorder = found.weights or "", found.analysis, found.recorder
    teacher: tuple[str, str] | tuple[()] | None = ()
    if protocol.distilled:
        assert analysis is not None  # distilled networks are compressed
        last = found.loaded.task.settings.training.generations
        teacher = find_teacher(found.loaded, weights, analysis, recorder, last)
    if teacher is None:
        return None, None
    key = protocol_key(found.loaded, protocol, seed, weights, analysis, *teacher)
    return _find(key, recorder)


def _link_run(step: Step, found: _Found) -> StoredRun | None:
    loaded, weights, analysis, recorder = (
        found.loaded, found.weights, found.analysis, found.recorder
    )  # fmt: skip
    if loaded is None or weights is None or analysis is None or recorder is None:
        return None
    return find_link(loaded, weights, analysis, recorder, step.generation)
