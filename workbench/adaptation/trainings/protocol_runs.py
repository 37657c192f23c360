"""One protocol with all its seeds: its trainings, and the choice of the weights to keep."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.stages.stage_runs import StageRun, run_stage, stages_after
from workbench.adaptation.tasks.loaded_task import LoadedTask
from workbench.adaptation.tasks.source_network import SourceNetwork
from workbench.adaptation.trainings.attacked_runs import with_attacks
from workbench.adaptation.trainings.kept_weights import KeptWeights
from workbench.adaptation.trainings.protocol_run_sets import ProtocolRuns
from workbench.adaptation.trainings.teacher_chains import train_teacher
from workbench.adaptation.trainings.training_jobs import protocol_job
from workbench.store.recorder import Recorder
from workbench.store.runs import StoredRun
from workbench.training.protocols import Protocol


def run_protocol(
    loaded: LoadedTask,
    protocol: Protocol,
    seeds: Sequence[int],
    source: SourceNetwork,
    analysis: Analysis,
    recorder: Recorder,
    parent: str,
) -> ProtocolRuns:
    """Run a protocol with every seed and keep the weights that ``--keep-weights`` selects.

    The user's stages follow each training.
    """
    teacher = None
    if protocol.distilled:
        teacher = train_teacher(loaded, source, analysis, recorder, parent)
    jobs = [protocol_job(loaded, protocol, seed, source, analysis, teacher) for seed in seeds]
    weights = KeptWeights(loaded, recorder, parent)
    runs: list[StoredRun] = []
    staged: list[StageRun] = []
    trained = 0
    for job in jobs:
        run, new = recorder.train(job, parent, weights.rule(job))
        trained += new and protocol.trained
        run = with_attacks(loaded, run, recorder)
        files = [
            run_stage(loaded, stage, job, run, recorder, parent)
            for stage in stages_after(loaded.task, protocol)
        ]
        weights.settle(run, [each for each in files if each])
        runs.append(run)
        staged += [each for each in files if each]
    by_stage = {
        stage.name: tuple(each for each in staged if each.stage == stage.name)
        for stage in stages_after(loaded.task, protocol)
    }
    return ProtocolRuns(protocol, tuple(runs), trained, weights.best, by_stage)
