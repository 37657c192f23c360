"""The options of pfa-distill."""

from __future__ import annotations

from workbench.cli.one_option import Option
from workbench.training.distillation_options import OBJECTIVES
from workbench.training.settings import TrainingSettings

_PANEL = "Distillation"
_Training = TrainingSettings

DISTILLATION_OPTIONS: dict[str, Option] = {
    "objective": Option(
        str,
        _PANEL,
        f"pfa-distill: what the network learns from its teacher: {', '.join(OBJECTIVES)}.",
        _Training.objective,
    ),
    "teacher": Option(
        str,
        _PANEL,
        "pfa-distill: the teacher: full-fine, source (all of its classes) or both (their mean).",
        _Training.teacher,
    ),
    "generations": Option(
        int,
        _PANEL,
        "pfa-distill: number of trainings in a row; each network is the teacher of the next one.",
        _Training.generations,
    ),
    "assistant": Option(
        bool,
        _PANEL,
        "pfa-distill: train a network of intermediate size, which learns from the teacher and "
        "teaches the compressed network.",
        _Training.assistant,
        ("--assistant/--no-assistant",),
    ),
    "temperature": Option(
        float,
        _PANEL,
        "pfa-distill: temperature of the softmax; higher values give softer probabilities.",
        _Training.temperature,
    ),
    "distill_weight": Option(
        float,
        _PANEL,
        "pfa-distill: share of the loss that compares probabilities with the teacher's, in [0, 1].",
        _Training.distill_weight,
    ),
}
