"""The initial weights of a protocol's training, and the same training again, for a stage."""

from __future__ import annotations

import torch
from torch import nn

from workbench.adaptation.tasks.loaded_task import LoadedTask
from workbench.deployment.stage_types import Rewind
from workbench.models.networks import place
from workbench.store.jobs import Job
from workbench.training.loop import fit


def rewind_to_start(loaded: LoadedTask, job: Job) -> Rewind:
    """Return the functions that make a job's network and train it again on the same processor."""

    def make() -> nn.Module:
        return job.finish(job.make_model())

    def train(network: nn.Module) -> None:
        teacher = job.make_teacher() if job.make_teacher else None
        fit(
            network, job.train, job.source, job.plan,
            seed=job.seed, processor=loaded.processor, teacher=teacher,
        )  # fmt: skip
        place(network, torch.device("cpu"))

    return Rewind(make, train)
