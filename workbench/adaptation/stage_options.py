"""Checks of stages together with the options of the trainings before them."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.deployment.stage_names import STAGES, Stage
from workbench.training.distillation_options import ALL_CLASSES, MUTUAL
from workbench.training.protocols import PROTOCOLS, Protocol
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


def follows(stage: Stage, protocol: Protocol) -> bool:
    """Whether a stage is applied to the networks of a protocol.

    A stage that trains would turn the untrained source network into a trained one.
    """
    return protocol.trained or not stage.trains


def check_applied(stages: Sequence[str], protocols: Sequence[str]) -> list[str]:
    """One line for each stage that is applied to no network of these protocols."""
    return [
        f"--stages {name}: it trains the network, so it is not applied to untrained ones "
        f"({', '.join(protocols)}); add a protocol that trains, such as pfa-fine"
        for name in stages
        if not any(follows(STAGES[name], PROTOCOLS[each]) for each in protocols)
    ]


def skipped_networks(stages: Sequence[str], protocols: Sequence[str]) -> list[str]:
    """A note if some stages are not applied to some of these protocols; otherwise nothing."""
    skips = [
        (name, each)
        for name in stages
        for each in protocols
        if not follows(STAGES[name], PROTOCOLS[each])
    ]
    if not skips:
        return []
    names, untrained = (", ".join(dict.fromkeys(words)) for words in zip(*skips, strict=True))
    return [f"stages that train ({names}) are not applied to untrained networks ({untrained})"]
