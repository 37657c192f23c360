"""The state of all plans that are being executed: what is done, measured and current.

``Display`` feeds it and shows it; ``time_left`` has the formulas.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from workbench.training.time_left import (
    Level,
    Pace,
    PlannedStep,
    done_share,
    seconds_left,
)


@dataclass
class Task:
    """One task of a step, such as one training.

    Attributes:
        title: its name on the screen.
        kind: of its work.
        work: all of its work, in FLOPs.
        total: number of its own units (epochs, images).
        began: time when its pace began to be measured.
        before: units that were done then; a resumed task begins in its middle.
        done: finished units.
    """

    title: str
    kind: str
    work: float
    total: float
    began: float
    before: float | None = None
    done: float = 0.0

    def report(self, done: float, now: float) -> None:
        """Note the finished units; the first report tells where the task began."""
        if self.before is None:
            # A task from its beginning reports its first unit, or a part of it, first.
            resumed = done > 1
            self.before, self.began = (done, now) if resumed else (0.0, self.began)
        self.done = max(self.done, done)

    def work_done(self) -> float:
        """Finished work, with that of earlier calls."""
        return self.work * min(1.0, self.done / self.total) if self.total else 0.0

    def measured(self, now: float) -> Pace:
        """Work and seconds of this call."""
        if self.before is None or not self.total:
            return Pace(0.0, 0.0)
        new = max(0.0, min(self.done, self.total) - self.before)
        return Pace(self.work * new / self.total, now - self.began)


@dataclass
class _Plan:
    steps: tuple[PlannedStep, ...]
    deadline: float = math.inf
    finished: int = 0
    current: dict[str, float] = field(default_factory=dict)
    active: bool = False
    began: float = 0.0
    timed: float = 0.0  # seconds of the current step that are in a pace already
    counted: bool = False  # whether a task of the current step was measured


class Overall:
    """Plans inside each other, the current tasks, and the measured paces."""

    def __init__(self) -> None:
        self._plans: list[_Plan] = []
        self._tasks: list[Task] = []
        self._paces: dict[str, Pace] = {}
        self._most = 0.0
        self.began = time.monotonic()
        self._left: float | None = None

    @property
    def is_planned(self) -> bool:
        """Whether a plan is being executed."""
        return bool(self._plans)

    @property
    def title(self) -> str:
        """The current task, or else the current step of the innermost plan that names one."""
        if self._tasks:
            return self._tasks[-1].title
        names = [p.steps[p.finished].title for p in self._plans if p.active]
        return next((name for name in reversed(names) if name), "")

    @property
    def done(self) -> float:
        """Finished share of the outermost plan, in [0, 1]; it never decreases."""
        return self._most

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds left at the last report; None if they are not known."""
        return self._left

    def push(self, steps: Sequence[PlannedStep]) -> None:
        """Begin a plan; it refines the current step of the one before."""
        if not self._plans:
            self.began, self._most, self._left = time.monotonic(), 0.0, None
            self._paces.clear()
        self._plans.append(_Plan(tuple(steps)))
        self._update()

    def limit(self, seconds: float) -> None:
        """Note that the innermost plan ends in so many seconds at the latest."""
        self._plans[-1].deadline = time.monotonic() + seconds
        self._update()

    def pop(self) -> None:
        """End the innermost plan."""
        self._plans.pop()

    def revise(self, steps: Sequence[PlannedStep]) -> None:
        """Replace the steps of the innermost plan; the finished ones must still be the first."""
        self._plans[-1].steps = tuple(steps)
        self._update()

    def begin_step(self) -> None:
        """Begin the next step of the innermost plan."""
        plan = self._plans[-1]
        plan.active, plan.began, plan.timed = True, time.monotonic(), 0.0
        plan.counted = False
        self._update()

    def end_step(self) -> None:
        """Count the current step as done, and its seconds outside of tasks as part of its pace."""
        plan, now = self._plans[-1], time.monotonic()
        step = plan.steps[plan.finished]
        seconds = now - plan.began
        if plan.counted and step.work:
            main = max(step.work, key=lambda kind: step.work[kind])
            self._measure(main, Pace(0.0, max(0.0, seconds - plan.timed)))
        plan.finished, plan.active = plan.finished + 1, False
        plan.current.clear()
        if len(self._plans) > 1:
            self._plans[-2].timed += seconds  # this step has measured them
        self._update()

    def begin_task(self, title: str, total: float, work: float, kind: str) -> Task:
        """Begin a task of the current step."""
        self._tasks.append(Task(title, kind, work, total, time.monotonic()))
        self._update()
        return self._tasks[-1]

    def report(self, task: Task, done: float) -> None:
        """Note how many units of a task are done."""
        task.report(done, time.monotonic())
        self._update()

    def end_task(self, task: Task, *, failed: bool) -> None:
        """End a task; a failed one counts as not done."""
        self._tasks.remove(task)
        if not failed and self._plans:
            now, plan = time.monotonic(), self._plans[-1]
            task.report(task.total, now)
            pace = task.measured(now)
            self._measure(task.kind, pace)
            plan.timed += pace.seconds
            plan.counted |= pace.work > 0
            plan.current[task.kind] = plan.current.get(task.kind, 0.0) + task.work
        self._update()

    def _bounded(self, done: dict[str, float]) -> dict[str, float]:
        """Work done in the current step, which is not complete while one of its tasks runs.

        A task may have more work than the step was planned with.
        """
        plan = self._plans[-1]
        for task in self._tasks:
            planned = plan.steps[plan.finished].work if plan.finished < len(plan.steps) else {}
            most = planned.get(task.kind, 0.0) - (task.work - task.work_done())
            done[task.kind] = max(0.0, min(done[task.kind], most))
        return done

    def _measure(self, kind: str, more: Pace) -> None:
        known = self._paces.get(kind, Pace(0.0, 0.0))
        self._paces[kind] = Pace(known.work + more.work, known.seconds + more.seconds)

    def _update(self) -> None:
        if not self._plans:
            return
        levels = [Level(plan.steps, plan.finished, dict(plan.current)) for plan in self._plans]
        now, paces, inner = time.monotonic(), dict(self._paces), dict(levels[-1].current)
        for task in self._tasks:
            inner[task.kind] = inner.get(task.kind, 0.0) + task.work_done()
            known, new = paces.get(task.kind, Pace(0.0, 0.0)), task.measured(now)
            if new.work:
                paces[task.kind] = Pace(known.work + new.work, known.seconds + new.seconds)
        levels[-1] = Level(levels[-1].steps, levels[-1].finished, self._bounded(inner))
        self._most = max(self._most, done_share(levels))
        left = seconds_left(levels, paces)
        # A limit that has passed says nothing: the last trainings take longer.
        limits = [plan.deadline - now for plan in self._plans if now < plan.deadline < math.inf]
        self._left = min((each for each in (left, *limits) if each is not None), default=None)
