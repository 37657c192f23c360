"""One protocol with all its seeds: its trainings, and the choice of the weights to keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.loaded_task import LoadedTask
from workbench.adaptation.source_network import SourceNetwork
from workbench.adaptation.stacked_training import train_jointly
from workbench.adaptation.summary import ProtocolRuns
from workbench.adaptation.training_jobs import protocol_job
from workbench.models.weight_files import read_weights
from workbench.store.recorder import DROPPED, WEIGHTS, Job, Recorder
from workbench.store.runs import StoredRun
from workbench.store.unfinished_work import WEIGHTS_FILE, Outcome
from workbench.training.protocols import PROTOCOLS, TEACHER, TEACHER_SEED, Protocol


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

    The best seed is the one with the lowest training loss; test images have no influence on it.
    """
    settings = loaded.task.settings
    teacher = None
    if protocol.distilled:
        teacher = teacher_network(loaded, source, analysis, recorder, parent)
    runs: list[StoredRun] = []
    best: StoredRun | None = None
    trained = 0

    def is_better(loss: float) -> bool:
        return best is None or loss < best.train_loss

    def keeper(job: Job) -> Callable[[Outcome], bool]:
        always = settings.record.keep_weights == "all" or (
            settings.training.distils and (protocol.name, job.seed) == (TEACHER, TEACHER_SEED)
        )
        best_one = settings.record.keep_weights == "best"
        return lambda outcome: always or (best_one and is_better(outcome.loss))

    jobs = [protocol_job(loaded, protocol, seed, source, analysis, teacher) for seed in seeds]
    if protocol.trained:
        train_jointly(jobs, recorder)
    for job in jobs:
        run, new = recorder.train(job, parent, keeper(job))
        trained += new and protocol.trained
        if run.tags.get(WEIGHTS) != DROPPED and is_better(run.train_loss):
            # Drop only weights of this adaptation, not those of another one that are reused.
            own = best and settings.record.keep_weights == "best" and best.parent == parent
            if best and own and not (settings.training.distils and _is_teacher(best)):
                recorder.drop_weights(best)
            best = run
        runs.append(run)
    return ProtocolRuns(protocol, tuple(runs), trained, best)


def _is_teacher(run: StoredRun) -> bool:
    return (run.params["protocol"], run.params["seed"]) == (TEACHER, str(TEACHER_SEED))


def teacher_network(
    loaded: LoadedTask,
    source: SourceNetwork,
    analysis: Analysis,
    recorder: Recorder,
    parent: str,
) -> SourceNetwork:
    """The trained full network that is the teacher of pfa-distill; its weights are kept.

    It is trained again if its weights were not kept.
    """
    job = protocol_job(loaded, PROTOCOLS[TEACHER], TEACHER_SEED, source, analysis)
    run, _ = replace(recorder, fresh=False).train(job, parent, lambda outcome: True)
    if run.tags.get(WEIGHTS) == DROPPED:
        recorder.display.say(
            f"{TEACHER}, seed {TEACHER_SEED}: its weights were not kept; it is trained again as "
            "the teacher"
        )
        run, _ = replace(recorder, fresh=True).train(job, parent, lambda outcome: True)
    path = recorder.store.fetch(run, WEIGHTS_FILE)
    assert path is not None  # the recorder returns complete runs only
    return SourceNetwork(read_weights(path), run.run_id)
