"""The options of pfa-distill: their names, their checks, and what is recorded of them.

The module has no heavy imports, so that ``workbench --help`` can show the names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.errors import check_choice

if TYPE_CHECKING:
    from workbench.training.settings import TrainingSettings

#: Objectives whose teacher is a trained network; ``training.objectives`` has their losses.
SOFT_TARGETS = "soft-targets"
TAUGHT = (SOFT_TARGETS, "attention-transfer", "similarity", "fitnets", "rkd")
#: The full and the compressed network learn from each other (``training.mutual_learning``).
MUTUAL = "mutual"
OBJECTIVES = (*TAUGHT, MUTUAL)

#: The teachers that a user can choose.
SOURCE, FULL_FINE, BOTH = TEACHERS = ("source", "full-fine", "both")
#: The teachers inside a chain: a teacher assistant, and the student of the previous generation.
ASSISTANT, STUDENT = "assistant", "student"
#: Teachers that know all classes of the source; their student has them, too, while it is trained.
ALL_CLASSES = (SOURCE, BOTH)

_MOST_GENERATIONS = 100


def chosen_options(settings: TrainingSettings) -> dict[str, Any]:
    """The options that differ from the only choice of earlier versions.

    Only these are recorded, so that the records of earlier versions stay valid.
    """
    defaults = {
        "objective": SOFT_TARGETS,
        "teacher": FULL_FINE,
        "generations": 1,
        "assistant": False,
    }
    given = {name: getattr(settings, name) for name in defaults}
    return {name: value for name, value in given.items() if value != defaults[name]}


def distillation_problems(settings: TrainingSettings) -> list[str]:
    """Return one line for each invalid value, and for each option without effect."""
    problems = [
        *check_choice("--objective", settings.objective, OBJECTIVES),
        *check_choice("--teacher", settings.teacher, TEACHERS),
    ]
    if not 0 < settings.temperature < float("inf"):
        problems.append(f"--temperature {settings.temperature:g} is not a positive number; try 1")
    if not 0 <= settings.distill_weight <= 1:
        problems.append(
            f"--distill-weight {settings.distill_weight:g} is not within [0, 1]; try 0.5"
        )
    if not 1 <= settings.generations <= _MOST_GENERATIONS:
        problems.append(
            f"--generations {settings.generations} is not within 1 to {_MOST_GENERATIONS}; try 3"
        )
    if settings.objective == MUTUAL:
        problems += _unused(settings)
    if not settings.distils:
        problems += [
            f"--{name} has no effect without a teacher; add the protocol pfa-distill or leave it "
            "out"
            for name in chosen_options(settings)
        ]
    return problems


def generation_seed(generation: int) -> int:
    """Seed of the network of a generation, from 1, that teaches the next one."""
    return generation - 1


def check_teacher(settings: TrainingSettings, head: str, steps: int) -> list[str]:
    """Return one line if the student cannot have all classes of the source during training.

    Args:
        head: ``--head`` with "auto" resolved.
        steps: number of steps of iterative PFA.
    """
    if not settings.distils or settings.teacher not in ALL_CLASSES:
        return []
    asked = f"--teacher {settings.teacher}: the student is trained on all classes of the source"
    if head != "slice":
        return [f"{asked}, which needs --head slice; use --teacher {FULL_FINE}"]
    if steps > 1:
        return [
            f"{asked}, but the networks of --steps {steps} have only the target's; leave one out"
        ]
    return []


def _unused(settings: TrainingSettings) -> list[str]:
    """Lines for the options of a trained teacher, which mutual learning does not have."""
    names = ("teacher", "generations", "assistant", "temperature", "distill_weight")
    return [
        f"--{name.replace('_', '-')} has no effect with --objective {MUTUAL}; leave one out"
        for name in names
        if getattr(settings, name) != getattr(type(settings), name)
    ]
