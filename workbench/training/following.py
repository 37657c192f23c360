"""The work of all processes but the first in a shared training (``processes``)."""

from __future__ import annotations

from workbench.errors import ProcessError, TrainingError
from workbench.training import processes
from workbench.training.loop import fit


def follow() -> None:
    """Take part in the trainings of the first process until its command ends."""
    while training := processes.next_training():
        try:
            fit(
                training.model,
                training.images,
                training.source,
                training.plan,
                seed=training.seed,
                processor=training.processor,
                teacher=training.teacher,
                handover=training.handover,
            )
        except (TrainingError, ProcessError):
            if not processes.are_in_step():
                raise  # otherwise the first process reports it, and may begin another training
