"""Successive halving with two objectives: accuracy and cost (method card).

Idea: short trainings are enough to discard most candidates. Each rung trains the remaining
candidates for longer and keeps about half of them.
Formula: a candidate dominates another one if it is at least as accurate and at least as cheap, and
better in one of the two. Front 1 holds the candidates that no other dominates; front 2 those that
only front 1 dominates; and so on. A rung keeps the first fronts. Of the front that does not fit
as a whole, it keeps the candidates whose accuracy is closest to the wanted one, because the
cheapest network of this accuracy is sought; ties go to the cheaper candidate.
Cost: with n candidates, R rungs and full length E, the trainings take at most n E R / 2^(R-1)
epochs instead of n E.
When it does not help: where the order of the candidates after a short training differs from that
after a long one, the best candidate may be discarded. The accuracy of one rung is from one seed.

Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
AISTATS 2016; fronts as in Schmucker et al., "Multi-objective Asynchronous Successive Halving",
2021 (arXiv 2106.12639). Optuna 5 has no pruner for several objectives, and its study would be a
second record beside the MLflow runs, so this is our own code.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Rated:
    """A candidate after a rung.

    Attributes:
        candidate: identifies it.
        cost: in any unit, above 0.
        accuracy: in [0, 1].
    """

    candidate: Hashable
    cost: float
    accuracy: float

    def dominates(self, other: Rated) -> bool:
        """Whether this candidate is as good in both objectives and better in one."""
        as_good = self.accuracy >= other.accuracy and self.cost <= other.cost
        return as_good and (self.accuracy > other.accuracy or self.cost < other.cost)


@dataclass(frozen=True)
class Rung:
    """One rung: how long its candidates are trained, and how many go on to the next one."""

    epochs: int
    keep: int


def plan_rungs(candidates: int, epochs: int, rungs: int) -> list[Rung]:
    """Plan the rungs: each is twice as long as the one before, and keeps half of its candidates.

    Args:
        candidates: number of candidates of the first rung, at least 1.
        epochs: length of the last rung's trainings, at least 1.
        rungs: number of rungs; fewer are planned if their trainings would be equally long.
    """
    lengths = sorted({max(1, math.ceil(epochs / 2**back)) for back in range(rungs)})
    left, planned = candidates, []
    for length in lengths:
        left = math.ceil(left / 2)
        planned.append(Rung(length, left))
    return planned


def fronts(rated: Sequence[Rated]) -> list[list[Rated]]:
    """Sort candidates into fronts, the best one first; each front by descending cost."""
    left, found = list(rated), []
    while left:
        front = [each for each in left if not any(other.dominates(each) for other in left)]
        left = [each for each in left if each not in front]
        found.append(sorted(front, key=lambda each: -each.cost))
    return found


def survivors(rated: Sequence[Rated], keep: int, wanted: float) -> list[Rated]:
    """The ``keep`` candidates that go on, those closest to the wanted accuracy first in a front."""
    chosen: list[Rated] = []
    for front in fronts(rated):
        room = keep - len(chosen)
        chosen += sorted(front, key=lambda each: (abs(each.accuracy - wanted), each.cost))[:room]
    return chosen
