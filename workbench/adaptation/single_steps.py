"""Execute one step of an adaptation by itself (``workbench cell``).

The step uses the same recorder and key as in ``pipeline.adapt``, which later finds the result.
Earlier steps that it needs are found in the store, or executed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.plans.run_keys import analysis_key
from workbench.adaptation.preparation import Prepared
from workbench.adaptation.tasks.source_network import SourceNetwork
from workbench.adaptation.trainings.gate_runs import gates_job
from workbench.adaptation.trainings.iterative_pfa import analyse_in_steps
from workbench.adaptation.trainings.kept_weights import keeps_alone
from workbench.adaptation.trainings.repair_training import repair, repair_job
from workbench.adaptation.trainings.source_training import job_of_source, train_source
from workbench.adaptation.trainings.teacher_chains import find_teacher, train_teacher
from workbench.adaptation.trainings.training_jobs import protocol_job
from workbench.errors import DamagedRunError, SettingsError
from workbench.store.recorder import Recorder
from workbench.store.run_tags import KEY
from workbench.store.runs import StoredRun
from workbench.training.protocols import PROTOCOLS

#: Called with the step's key before its work begins; raises if another key is expected.
Check = Callable[[str], None]


@dataclass(frozen=True)
class SingleStep:
    """Which step to execute.

    Attributes:
        kind: a name in ``SINGLE_STEPS``.
        parent: id of the parent of a new run; None without one.
        protocol, seed: of a training.
    """

    kind: str
    parent: str | None = None
    protocol: str = ""
    seed: int = 0


@dataclass(frozen=True)
class StepRun:
    """A finished step: its key, its run, and whether this call did the work."""

    key: str
    run: StoredRun
    new: bool


def run_step(prepared: Prepared, step: SingleStep, check: Check) -> StepRun:
    """Execute one step, or find its run.

    Raises:
        WorkbenchError: for every error that the user can fix; see ``workbench.errors``.
    """
    return SINGLE_STEPS[step.kind](prepared, step, check)


def _source(prepared: Prepared, step: SingleStep, check: Check) -> StepRun:
    call, recorder = prepared.call, prepared.recorder
    if call.given:
        raise SettingsError("kind 'source': nothing is to be trained with --weights")
    job = job_of_source(call.task, call.processor, recorder.display)
    check(job.key)
    run, new = recorder.train(job, None, lambda outcome: True)
    return StepRun(job.key, run, new)


def _gates(prepared: Prepared, step: SingleStep, check: Check) -> StepRun:
    if not prepared.loaded.task.gates:
        raise SettingsError("kind 'gates': the options name no method that trains gates")
    job = gates_job(prepared.loaded, _source_of(prepared))
    check(job.key)
    run, new = prepared.recorder.train(job, step.parent, lambda outcome: True)
    return StepRun(job.key, run, new)


def _analysis(prepared: Prepared, step: SingleStep, check: Check) -> StepRun:
    source, recorder = _source_of(prepared), prepared.recorder
    key = analysis_key(prepared.loaded, source.fingerprint)
    check(key)
    analysis = analyse_in_steps(prepared.loaded, source, recorder, step.parent)
    run = recorder.find(key)
    if run is None:
        raise DamagedRunError("the analysis was recorded, but cannot be read from the store")
    return StepRun(key, run, analysis.measured)


def _repair(prepared: Prepared, step: SingleStep, check: Check) -> StepRun:
    if prepared.loaded.source_images is None:
        raise SettingsError("kind 'repair': the options have no --repair-epochs")
    source = _source_of(prepared)
    analysis = analyse_in_steps(prepared.loaded, source, _reusing(prepared), step.parent)
    job = repair_job(prepared.loaded, source, analysis)
    check(job.key)
    run, new = prepared.recorder.train(job, step.parent, lambda outcome: True)
    return StepRun(job.key, run, new)


def _teacher(prepared: Prepared, step: SingleStep, check: Check) -> StepRun:
    """All networks that a distilled protocol needs before its own seeds, one after the other."""
    loaded, recorder = prepared.loaded, _reusing(prepared)
    training = loaded.task.settings.training
    if not training.has_teacher_runs:
        raise SettingsError("kind 'teacher': the options need no trained teacher")
    source, analysis = _start_of(prepared, step)
    weights = source.fingerprint
    before = find_teacher(loaded, weights, analysis, recorder, training.generations)
    teacher = train_teacher(loaded, source, analysis, recorder, step.parent)
    run = recorder.store.run(teacher.weights.origin)
    return StepRun(run.tags[KEY], run, before is None)


def _training(prepared: Prepared, step: SingleStep, check: Check) -> StepRun:
    loaded, task = prepared.loaded, prepared.call.task
    if step.protocol not in task.protocols:
        raise SettingsError(
            f"protocol '{step.protocol}' is not among those of the options: "
            f"{', '.join(task.protocols)}"
        )
    protocol = PROTOCOLS[step.protocol]
    source, analysis = _start_of(prepared, step)
    teacher = None
    if protocol.distilled:
        teacher = train_teacher(loaded, source, analysis, _reusing(prepared), step.parent)
    job = protocol_job(loaded, protocol, step.seed, source, analysis, teacher)
    check(job.key)
    keep = keeps_alone(task.settings, job)
    run, new = prepared.recorder.train(job, step.parent, lambda outcome: keep)
    return StepRun(job.key, run, new)


SINGLE_STEPS: Mapping[str, Callable[[Prepared, SingleStep, Check], StepRun]] = {
    "source": _source,
    "gates": _gates,
    "analysis": _analysis,
    "repair": _repair,
    "teacher": _teacher,
    "training": _training,
}


def _reusing(prepared: Prepared) -> Recorder:
    """A recorder for the steps before: ``fresh`` repeats only the step itself."""
    return replace(prepared.recorder, fresh=False)


def _source_of(prepared: Prepared) -> SourceNetwork:
    call = prepared.call
    return call.given or train_source(call.task, call.processor, _reusing(prepared))


def _start_of(prepared: Prepared, step: SingleStep) -> tuple[SourceNetwork, Analysis]:
    """The source network, and the analysis with the network that trainings start from."""
    loaded, recorder = prepared.loaded, _reusing(prepared)
    source = _source_of(prepared)
    analysis = analyse_in_steps(loaded, source, recorder, step.parent)
    if loaded.source_images is not None:
        analysis = repair(loaded, source, analysis, recorder, step.parent)
    return source, analysis
