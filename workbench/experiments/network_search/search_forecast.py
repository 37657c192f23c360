"""Training plans of a search's trials, and an estimate of their work.

The number of candidates determines the rungs of successive halving. It is not known which
candidates remain and how many trials follow. The forecast assumes candidates of average size, and a
few trials in each of the later parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from workbench.errors import counted
from workbench.experiments.network_search.candidates import FULL, Candidate
from workbench.experiments.network_search.search_settings import SearchSettings
from workbench.experiments.network_search.successive_halving import plan_rungs
from workbench.training.time_left import TRAINING, PlannedStep

_CONFIRMED, _REFINED = 2, 3  # candidates that the second and the third part usually train


@dataclass(frozen=True)
class Plan:
    """How the trials of a search are trained and compared.

    Attributes:
        epochs: length of the longest trainings.
        seeds: the first one is that of successive halving.
        tolerance: allowed difference to the full network, in [0, 1].
        seen: whether the source network was trained on the validation images.
    """

    epochs: int
    seeds: Sequence[int]
    tolerance: float
    seen: bool


def expected_steps(
    candidates: Sequence[Candidate],
    search: SearchSettings,
    plan: Plan,
    work: Callable[[Candidate, int], float],
) -> list[PlannedStep]:
    """One step for each rung, one for further seeds, and one for budgets in between.

    Args:
        candidates: at least one, all of them can be built.
        work: returns the work of a trial of a candidate with so many epochs, in FLOPs.
    """

    def mean(epochs: int) -> float:
        return fmean(work(each, epochs) for each in candidates)

    steps, left = [], len(candidates)
    for rung in plan_rungs(left, plan.epochs, search.rungs):
        trials = work(FULL, rung.epochs) + left * mean(rung.epochs)
        steps.append(
            PlannedStep(
                f"{counted(left, 'candidate')}, {counted(rung.epochs, 'epoch')}", {TRAINING: trials}
            )
        )
        left = rung.keep
    more, long = len(plan.seeds) - 1, mean(plan.epochs)
    confirm = more * (work(FULL, plan.epochs) + _CONFIRMED * long)
    refine = _REFINED * len(plan.seeds) * long
    return [
        *steps,
        PlannedStep("more seeds", {TRAINING: confirm} if confirm else {}),
        PlannedStep("budgets in between", {TRAINING: refine}),
    ]
