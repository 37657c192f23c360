"""Training of several seeds together, where that is faster, before each is recorded.

The outcomes are stored in the work folder as if each seed had been trained by itself;
``Recorder.train`` finds them there and records them. Records and locks therefore work as for
single trainings, and finished seeds are not trained again. No checkpoints are written, because
only small sets are trained this way; an interrupted training starts again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch

from workbench.errors import NetworkError, TrainingError
from workbench.store.jobs import Job
from workbench.store.recorder import Recorder
from workbench.store.unfinished_work import Outcome
from workbench.training.evaluation import evaluate
from workbench.training.stacked_seeds import Learner, fit_together, pays

#: Most seeds to train together. Each needs memory, and with 8 of them kernel launches no longer
#: limit the speed.
MOST_AT_ONCE = 8


def train_jointly(jobs: Sequence[Job], recorder: Recorder) -> None:
    """Train the missing ones of these jobs together and store the outcomes in the work folder.

    The function does nothing where training together is not faster, with ``--fresh``, or with batch
    norms on parts of a batch. It leaves out jobs whose training fails, so that the single training
    reports the error. It also leaves out seeds that cannot be trained together, because memory is
    too small or because the network draws random numbers in other ways than dropout (such as
    stochastic depth).

    Args:
        jobs: the jobs of one protocol, which differ only in their seeds.
    """
    processor, work = recorder.processor, recorder.work
    # Seeds that are stacked stay in one process, whose batch norms see the whole batch.
    if recorder.fresh or jobs[0].plan.norm_parts:
        return
    if not pays(len(jobs[0].train), len(jobs), processor):
        return
    with ExitStack() as locks:
        for job in sorted(jobs, key=lambda job: job.key):
            locks.enter_context(work.lock(job.key))
        missing = [job for job in jobs if not (work.outcome(job.key) or recorder.find(job.key))]
        if not pays(len(jobs[0].train), len(missing), processor):
            return
        groups = [missing[n : n + MOST_AT_ONCE] for n in range(0, len(missing), MOST_AT_ONCE)]
        while groups:
            group = groups.pop(0)
            seeds = ", ".join(str(job.seed) for job in group)
            if len(group) == 1:
                continue
            try:
                _train(group, recorder)
            except (NetworkError, TrainingError):
                continue
            except torch.OutOfMemoryError:
                half = (len(group) + 1) // 2
                groups[:0] = [group[:half], group[half:]]
                recorder.display.say(
                    f"seeds {seeds}: not enough memory to train all together; trying two halves"
                )
            except RuntimeError as error:
                reason = str(error).strip().partition("\n")[0]
                recorder.display.say(f"seeds {seeds}: trained one by one, not together ({reason})")


def _train(jobs: Sequence[Job], recorder: Recorder) -> None:
    first, processor = jobs[0], recorder.processor
    learners = [Learner(job.make_model(), job.seed) for job in jobs]
    seeds = ", ".join(str(job.seed) for job in jobs)
    title = f"{first.title.rpartition(' seed ')[0]} seeds {seeds} together"

    def work() -> float:
        return len(jobs) * first.work(learners[0].network)

    with recorder.display.track(title, first.plan.epochs, work) as advance:
        progress = fit_together(
            learners,
            first.train,
            first.source,
            first.plan,
            processor=processor,
            teacher=first.make_teacher() if first.make_teacher else None,
            on_epoch=lambda epochs: advance(epochs[0].number, f"loss {epochs[0].loss:.3f}"),
        )
    for job, learner, done in zip(jobs, learners, progress, strict=True):
        network = job.finish(learner.network)
        found = evaluate(network, job.test, job.source, processor)
        outcome = Outcome.of(found, done.seconds, done.epochs)
        recorder.work.claim(job.key, recorder.store.address)
        state = dict(network.state_dict())
        recorder.work.finish(job.key, outcome, state, job.card.metadata(), found.predictions)
