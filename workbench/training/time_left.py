"""How much of a plan is done, and how long the rest takes (method card).

Idea: the work of each step is known before it begins; the speed follows from the steps that this
call has executed. Work is counted in FLOPs, so short trainings of small networks count little.
Formula: done = finished work / all work, where recorded steps are finished. Seconds left = the sum
over kinds of (work left of the kind) x (seconds per unit of work, measured for the kind). A kind
that was not measured yet gets the speed of the trainings. Without any measured training, the time
left is not known and is None.
Cost: nothing is timed for the estimate; the numbers come from the work itself.
When it does not help: where the speed changes, for example if another program starts. Small
networks do not reach the speed of large ones; ``OVERHEAD`` counts for what each image costs besides
its FLOPs.

A plan may refine the current step of another one (an adaptation inside a benchmark): ``levels`` has
the outermost plan first. All functions here are pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

TRAINING, ANALYSIS, STAGE = "training", "analysis", "stage"
#: FLOPs that take as long as everything else that is done with an image in a pass: reading,
#: normalising, and starting the operations.
OVERHEAD = 2e6
_PASSES = 3  # a training step costs about three forward passes
#: Measurements of fewer seconds say nothing about the pace.
LEAST_SECONDS = 1.0


@dataclass(frozen=True)
class PlannedStep:
    """One step of a plan.

    Attributes:
        title: its name on the screen.
        work: work to do, in FLOPs, by kind (``TRAINING``, ``ANALYSIS`` or ``STAGE``).
        recorded: work whose results are recorded already, in FLOPs.
    """

    title: str
    work: Mapping[str, float]
    recorded: float = 0.0

    @property
    def to_do(self) -> float:
        """Work to do of all kinds."""
        return sum(self.work.values())


@dataclass(frozen=True)
class Level:
    """A plan that is being executed.

    Attributes:
        steps: all steps, in order.
        finished: number of finished steps.
        current: work done in the step after them, by kind.
    """

    steps: tuple[PlannedStep, ...]
    finished: int = 0
    current: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Pace:
    """Measured work and the seconds that it took."""

    work: float
    seconds: float


def pass_work(flops: float, images: int) -> float:
    """Work of forward passes over images.

    Args:
        flops: FLOPs of one image's forward pass.
    """
    return images * (flops + OVERHEAD)


def training_work(flops: float, images: int, epochs: float) -> float:
    """Work of a training; an untrained network (0 epochs) is only evaluated."""
    return pass_work(flops, images) * (_PASSES * epochs if epochs else 1)


def done_share(levels: Sequence[Level]) -> float:
    """The finished share of the outermost plan, in [0, 1]."""
    share: float | None = None
    for level in reversed(levels):
        share = _share(level, share)
    return 0.0 if share is None else share


def _share(level: Level, inner: float | None) -> float:
    """The finished share of one plan.

    Args:
        inner: finished share of the plan that refines the current step; None without one.
    """
    steps, finished = level.steps, level.finished
    whole = sum(step.recorded + step.to_do for step in steps)
    if whole <= 0:
        return min(1.0, finished / len(steps)) if steps else 1.0
    done = sum(step.recorded for step in steps) + sum(step.to_do for step in steps[:finished])
    for step in steps[finished : finished + 1]:
        if inner is not None:
            done += step.to_do * inner
        else:
            done += sum(min(level.current.get(kind, 0.0), size) for kind, size in step.work.items())
    return min(1.0, max(0.0, done / whole))


def seconds_left(levels: Sequence[Level], paces: Mapping[str, Pace]) -> float | None:
    """Estimated seconds until the outermost plan is done; None if they are not known yet.

    Args:
        paces: what was measured so far, by kind.
    """
    usual = _seconds_per_work(paces.get(TRAINING))
    total = 0.0
    for kind, work in _work_left(levels).items():
        own = _seconds_per_work(paces.get(kind))
        pace = usual if own is None else own
        if work > 0 and pace is None:
            return None
        total += work * (pace or 0.0)
    return total


def _seconds_per_work(pace: Pace | None) -> float | None:
    if pace is None or pace.seconds < LEAST_SECONDS or pace.work <= 0:
        return None
    return pace.seconds / pace.work


def _work_left(levels: Sequence[Level]) -> dict[str, float]:
    """Work to do by kind; the current step of a plan is that of the plan inside it."""
    left: dict[str, float] = {}
    for number, level in enumerate(levels):
        innermost = number == len(levels) - 1
        for place, step in enumerate(level.steps[level.finished :]):
            if place == 0 and not innermost:
                continue
            for kind, size in step.work.items():
                done = level.current.get(kind, 0.0) if place == 0 else 0.0
                left[kind] = left.get(kind, 0.0) + max(0.0, size - done)
    return left


def left_words(seconds: float | None) -> str:
    """The time left as "about 3 min 20 s left"; empty if it is not known, or below a second."""
    return "" if seconds is None or round(seconds) < 1 else f"about {duration(seconds)} left"


def duration(seconds: float) -> str:
    """Format seconds as hours and minutes, minutes and seconds, or seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
