"""Several seeds' trainings done at once, where that pays, before they are recorded one by one.

What is trained here lies in the work folder as if each had been trained by itself:
``Recorder.train`` finds the outcomes there and records them. So records and locks need no second
way, and finished seeds are not trained again. There are no checkpoints on the way: only small sets
are trained so, and killed in the middle they begin anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch

from workbench.errors import NetworkError, TrainingError
from workbench.store.recorder import Job, Recorder
from workbench.store.unfinished_work import Outcome
from workbench.training.evaluation import evaluate
from workbench.training.stacked_seeds import Learner, fit_together, pays

#: Seeds that are trained at once: each costs memory, and with so many launches are no bound.
MOST_AT_ONCE = 8


def train_jointly(jobs: Sequence[Job], recorder: Recorder) -> None:
    """Train what is missing of these jobs together and leave the outcomes in the work folder.

    Nothing happens where it does not pay, or where what is recorded shall be trained anew. A
    training that breaks down is left to be done, and reported, by itself; so are seeds that cannot
    be trained together: for want of memory, or because the network draws random numbers otherwise
    than by dropout (stochastic depth).

    Args:
        jobs: one protocol's, which differ in their seeds alone.
    """
    processor, work = recorder.processor, recorder.work
    if recorder.fresh or not pays(len(jobs[0].train), len(jobs), processor):
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
                recorder.display.say(f"seeds {seeds}: too much memory together; in two halves")
            except RuntimeError as error:
                reason = str(error).strip().partition("\n")[0]
                recorder.display.say(f"seeds {seeds}: one by one, not together ({reason})")


def _train(jobs: Sequence[Job], recorder: Recorder) -> None:
    first, processor = jobs[0], recorder.processor
    learners = [Learner(job.make_model(), job.seed) for job in jobs]
    seeds = ", ".join(str(job.seed) for job in jobs)
    title = f"{first.title.rpartition(' seed ')[0]} seeds {seeds} together"
    with recorder.display.track(title, first.plan.epochs) as advance:
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
        hits, top = evaluate(learner.network, job.test, job.source, processor)
        outcome = Outcome(hits, len(job.test), done.seconds, done.epochs, top)
        recorder.work.claim(job.key, recorder.store.address)
        state = dict(learner.network.state_dict())
        recorder.work.finish(job.key, outcome, state, job.card.metadata())
