"""One protocol with all its seeds: what is trained, and which weights are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from workbench.analysis import Analysis
from workbench.conclusion import Round
from workbench.jobs import protocol_job
from workbench.joint import train_jointly
from workbench.protocols import PROTOCOLS, TEACHER, TEACHER_SEED, Protocol
from workbench.recording import DROPPED, WEIGHTS, Job, Recorder
from workbench.runs import StoredRun
from workbench.subject import SourceNetwork, Subject
from workbench.weights import read_weights
from workbench.work import WEIGHTS_FILE, Outcome


def train_seeds(
    subject: Subject,
    protocol: Protocol,
    source: SourceNetwork,
    analysis: Analysis,
    recorder: Recorder,
    parent: str,
) -> Round:
    """Run a protocol with every seed; of the trained weights those asked for are kept.

    The best seed is the one with the lowest training loss: the test images choose nothing.
    """
    settings = subject.task.settings
    teacher = _teacher(subject, source, analysis, recorder, parent) if protocol.distilled else None
    runs: list[StoredRun] = []
    best: StoredRun | None = None
    trained = 0

    def is_better(loss: float) -> bool:
        return best is None or loss < best.train_loss

    def keeper(job: Job) -> Callable[[Outcome], bool]:
        always = settings.keep_weights == "all" or (
            settings.distils and (protocol.name, job.seed) == (TEACHER, TEACHER_SEED)
        )
        best_one = settings.keep_weights == "best"
        return lambda outcome: always or (best_one and is_better(outcome.loss))

    jobs = [
        protocol_job(subject, protocol, seed, source, analysis, teacher)
        for seed in settings.seed_range
    ]
    if protocol.trained:
        train_jointly(jobs, recorder)
    for job in jobs:
        run, new = recorder.train(job, parent, keeper(job))
        trained += new
        if run.tags.get(WEIGHTS) != DROPPED and is_better(run.train_loss):
            # Only weights of this adaptation are dropped: another's are not ours to delete.
            own = best and settings.keep_weights == "best" and best.parent == parent
            if best and own and not (settings.distils and _is_teacher(best)):
                recorder.drop_weights(best)
            best = run
        runs.append(run)
    return Round(protocol, tuple(runs), trained, best)


def _is_teacher(run: StoredRun) -> bool:
    return (run.params["protocol"], run.params["seed"]) == (TEACHER, str(TEACHER_SEED))


def _teacher(
    subject: Subject,
    source: SourceNetwork,
    analysis: Analysis,
    recorder: Recorder,
    parent: str,
) -> SourceNetwork:
    """The trained full network that a small one follows; its weights are kept.

    It is trained again where only its result was kept.
    """
    job = protocol_job(subject, PROTOCOLS[TEACHER], TEACHER_SEED, source, analysis)
    run, _ = replace(recorder, fresh=False).train(job, parent, lambda outcome: True)
    if run.tags.get(WEIGHTS) == DROPPED:
        recorder.display.say(
            f"{TEACHER}, seed {TEACHER_SEED}: its weights were not kept; it is trained again, to "
            "be followed"
        )
        run, _ = replace(recorder, fresh=True).train(job, parent, lambda outcome: True)
    path = recorder.store.fetch(run, WEIGHTS_FILE)
    assert path is not None  # the recorder returns whole runs only
    return SourceNetwork(read_weights(path), run.run_id)
