"""Checks of stages together with the options of the trainings before them."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.deployment.stage_names import STAGES
from workbench.training.distillation_options import ALL_CLASSES, MUTUAL
from workbench.training.settings import TrainingSettings


def check_repeatable(stages: Sequence[str], training: TrainingSettings) -> list[str]:
    """One line for each stage that cannot repeat the distillation, because its network is larger.

    A student with all classes of the source is cut after its training, and mutual learning trains a
    pair of networks. A mask of the resulting network does not fit the network of the training.
    """
    if not training.distils:
        return []
    reasons = []
    if training.objective == MUTUAL:
        reasons.append(f"--objective {MUTUAL}")
    elif training.teacher in ALL_CLASSES:
        reasons.append(f"--teacher {training.teacher}")
    return [
        f"--stages {name}: cannot repeat the training of pfa-distill with {reason}, whose network "
        "is larger than the stored one; leave one out"
        for name in stages
        for reason in reasons
        if STAGES[name].repeats
    ]
