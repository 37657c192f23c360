"""The order of a search's trials: short ones of many candidates, long ones of a few.

1. Successive halving over all recipes and budgets, with one seed (``successive_halving``).
2. The remaining candidates with all seeds, the cheapest first, until one is sufficient. If none is,
   larger budgets with the recipe of the most accurate one.
3. Budgets between the cheapest sufficient one and the next cheaper one, with its recipe.

A candidate is sufficient if its mean accuracy on the validation images is at most ``tolerance``
below that of the full network, trained in the same way with the same seeds. If the source network
was not trained on these images, the candidate must also be within the tolerance of the source.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from workbench.errors import SettingsError, counted
from workbench.experiments.network_search.candidates import (
    FULL,
    SOURCE,
    Candidate,
    between,
    candidate_grid,
)
from workbench.experiments.network_search.search_forecast import Plan, expected_steps
from workbench.experiments.network_search.search_result import Found, gap
from workbench.experiments.network_search.search_settings import SearchSettings
from workbench.experiments.network_search.successive_halving import (
    Rated,
    Rung,
    plan_rungs,
    survivors,
)
from workbench.experiments.network_search.trials import Trial, Wish
from workbench.training.progress import Display
from workbench.training.progress import Plan as Steps

#: Budgets between a sufficient and an insufficient one are tried while their ratio is larger.
_FINE_ENOUGH = 1.3
#: Where no smaller budget was tried, the next ones are this share of the smallest sufficient one.
_FAR_BELOW = 0.25
_MOST_REFINEMENTS = 6
_LARGEST = 0.8  # of the full network's cost: the largest budget that is tried
#: A candidate that is further below the wanted accuracy with one seed gets no more seeds.
_SLACK = 0.01
_ROUNDING = 1e-9


class Runner(Protocol):
    """What the search needs of ``trials.Trials``."""

    def is_recorded(self, candidate: Candidate, epochs: int, seed: int) -> bool:
        """Whether ``train`` finds the trial and needs no time."""

    def train(self, candidate: Candidate, epochs: int, seed: int) -> Trial:
        """Train a candidate, or find its recorded training."""

    def ahead(self, wishes: Sequence[Wish], check: Callable[[], None]) -> None:
        """Run trials that ``train`` will ask for at the same time, where that is possible.

        Args:
            check: called before trials begin; raises when no time is left.
        """

    def possible(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates that can be built, without duplicates."""


class TimeOverError(Exception):
    """The time budget does not allow another trial."""


@dataclass
class Clock:
    """The time budget of one call; it includes the training of the chosen network.

    Attributes:
        seconds: allowed seconds.
        started: when the call started, from ``time.monotonic``.
        reserved: estimated seconds of the trainings that follow the search, at most half of all,
            so that a call with little time continues the search, too.
    """

    seconds: float
    started: float = field(default_factory=time.monotonic)
    reserved: float = 0.0

    def check(self) -> None:
        """Raise ``TimeOverError`` when no time is left."""
        if time.monotonic() - self.started + self.reserved >= self.seconds:
            raise TimeOverError


def find(
    runner: Runner,
    search: SearchSettings,
    plan: Plan,
    clock: Clock,
    display: Display | None = None,
    work: Callable[[Candidate, int], float] = lambda candidate, epochs: candidate.share * epochs,
) -> Found:
    """Run the trials of a search until it is complete or its time is over.

    Args:
        display: shows the progress, and a line after each part of the search.
        work: returns the work of a trial of a candidate with so many epochs, in FLOPs.
    """
    display = display or Display()
    state = _State(runner, search, plan, clock, display.say)
    complete = True
    candidates = state.possible()
    try:
        with display.plan(expected_steps(candidates, search, plan, work)) as steps:
            state.halve(candidates, steps)
            with steps.step():
                state.confirm()
            with steps.step():
                state.refine()
        chosen = state.best() or FULL
    except TimeOverError:
        complete = False
        chosen = state.best(least_epochs=1) or FULL
        display.say(f"the time is over; the best network so far: {chosen.label}")
    return Found(
        tuple(state.trials), chosen, state.wanted(plan.epochs), complete, plan.epochs, plan.seen
    )


@dataclass
class _State:
    runner: Runner
    search: SearchSettings
    plan: Plan
    clock: Clock
    say: Callable[[str], None]
    trials: list[Trial] = field(default_factory=list)
    left: list[Candidate] = field(default_factory=list)

    def possible(self) -> list[Candidate]:
        """The candidates that can be built.

        Raises:
            SettingsError: when there is none.
        """
        found = self.runner.possible(candidate_grid(self.search.recipes, self.search.budgets))
        if not found:
            budgets = ", ".join(f"{each:g}" for each in self.search.budgets)
            raise SettingsError(
                f"--budgets {budgets}: no network is that small; name larger budgets, or a smaller "
                "--min-share"
            )
        return found

    def halve(self, candidates: Sequence[Candidate], steps: Steps) -> None:
        """Part 1; the survivors are in ``left``, the cheapest first."""
        self.left = list(candidates)
        self._train(SOURCE, 0, self.plan.seeds[0])
        for rung in plan_rungs(len(self.left), self.plan.epochs, self.search.rungs):
            with steps.step():
                self._rung(rung)

    def _rung(self, rung: Rung) -> None:
        """Train all candidates that are left, and keep the best of them."""
        first = self.plan.seeds[0]
        self._ahead([(one, rung.epochs, first) for one in (FULL, *self.left)])
        self._train(FULL, rung.epochs, first)
        done = [self._train(candidate, rung.epochs, first) for candidate in self.left]
        rated = [Rated(trial.candidate, trial.cost, trial.accuracy) for trial in done]
        kept = survivors(rated, rung.keep, self.wanted(rung.epochs))
        order = sorted(kept, key=lambda each: each.cost)
        self.left = [c for each in order for c in self.left if c == each.candidate]
        self.say(
            f"{counted(rung.epochs, 'epoch')}: {counted(len(rated), 'candidate')}, "
            f"{len(self.left)} left: {', '.join(candidate.label for candidate in self.left)}"
        )

    def confirm(self) -> None:
        """Part 2: train the remaining seeds, the cheapest candidate first, until one is enough."""
        self._ahead([(FULL, self.plan.epochs, seed) for seed in self.plan.seeds])
        for seed in self.plan.seeds:
            self._train(FULL, self.plan.epochs, seed)
        trained = {t.candidate: t.cost for t in self.trials if t.epochs == self.plan.epochs}
        for candidate in sorted(trained, key=lambda one: trained[one]):
            if candidate.method and self._sufficient(candidate):
                return
        self._climb()

    def _climb(self) -> None:
        """Try larger budgets, which short trainings may have discarded, until one is sufficient."""
        long = [t for t in self.trials if t.epochs == self.plan.epochs and t.candidate.method]
        best = max(long, key=lambda trial: (trial.accuracy, -trial.cost)).candidate
        share = best.share
        while share < _LARGEST:
            larger = [each for each in self.search.budgets if each > share]
            share = min(larger, default=min(2 * share, _LARGEST))
            new = self.runner.possible([Candidate(share, best.method)])
            if not new or self._sufficient(new[0]):
                return

    def refine(self) -> None:
        """Part 3: bisect between the cheapest sufficient budget and the next smaller one."""
        for _ in range(_MOST_REFINEMENTS):
            best = self.best()
            if best is None:
                return
            tried = {t.candidate.share for t in self.trials if t.candidate.method == best.method}
            low = max((s for s in tried if s < best.share), default=_FAR_BELOW * best.share)
            if best.share / low <= _FINE_ENOUGH:
                return
            new = self.runner.possible([Candidate(between(low, best.share), best.method)])
            if not new or new[0].share in tried:
                return
            enough = self._sufficient(new[0])
            self.say(f"{new[0].label}: {'accurate enough' if enough else 'not accurate enough'}")

    def best(self, least_epochs: int | None = None) -> Candidate | None:
        """The cheapest sufficient candidate of the most reliable comparison; None without one.

        A comparison with more epochs, then with more seeds, is more reliable.

        Args:
            least_epochs: shorter trainings do not count; by default those of the last rung only.
        """
        least = self.plan.epochs if least_epochs is None else least_epochs
        longest = {each.candidate: each for each in sorted(self.trials, key=lambda t: t.epochs)}
        found: dict[tuple[int, int], list[Trial]] = {}
        for trial in (each for each in longest.values() if each.epochs >= least):
            difference = gap(self.trials, trial.candidate, trial.epochs)
            if trial.candidate.method and difference and self._enough(difference[0], trial.epochs):
                found.setdefault((trial.epochs, difference[1]), []).append(trial)
        if not found:
            return None
        return min(found[max(found)], key=lambda trial: trial.cost).candidate

    def wanted(self, epochs: int) -> float:
        """Accuracy that a candidate needs after trainings of this length; 0 if unknown."""
        full = [t.accuracy for t in self.trials if (t.candidate, t.epochs) == (FULL, epochs)]
        known = [sum(full) / len(full)] if full else []
        if not self.plan.seen:
            known += [t.accuracy for t in self.trials if t.candidate == SOURCE]
        return max(known, default=self.plan.tolerance) - self.plan.tolerance

    def _ahead(self, wishes: Sequence[Wish]) -> None:
        done = {(trial.candidate, trial.epochs, trial.seed) for trial in self.trials}
        missing = [
            wish for wish in wishes if wish not in done and not self.runner.is_recorded(*wish)
        ]
        if missing:
            self.runner.ahead(missing, self.clock.check)

    def _train(self, candidate: Candidate, epochs: int, seed: int) -> Trial:
        wish = (candidate, epochs, seed)
        done = next((t for t in self.trials if (t.candidate, t.epochs, t.seed) == wish), None)
        if done:
            return done
        if not self.runner.is_recorded(candidate, epochs, seed):
            self.clock.check()
        trial = self.runner.train(candidate, epochs, seed)
        self.trials.append(trial)
        if candidate == FULL:
            per_epoch = trial.seconds / max(1, epochs)
            share = 1 - self.search.validation
            # The chosen network is cheaper than the full one, which is trained again, too.
            later = 2 * per_epoch * self.plan.epochs * len(self.plan.seeds) / share
            self.clock.reserved = min(later, self.clock.seconds / 2)
        return trial

    def _sufficient(self, candidate: Candidate) -> bool:
        """Train a candidate with all seeds; stop early if the first is far from sufficient."""
        epochs = self.plan.epochs
        self._train(candidate, epochs, self.plan.seeds[0])
        first = gap([t for t in self.trials if t.seed == self.plan.seeds[0]], candidate, epochs)
        if first is None or not self._enough(first[0] + _SLACK, epochs):
            return False
        self._ahead([(candidate, epochs, seed) for seed in self.plan.seeds[1:]])
        for seed in self.plan.seeds[1:]:
            self._train(candidate, epochs, seed)
        difference = gap(self.trials, candidate, epochs)
        return difference is not None and self._enough(difference[0], epochs)

    def _enough(self, difference: float, epochs: int) -> bool:
        """Whether a difference to the full network is within the tolerance."""
        full = [t.accuracy for t in self.trials if (t.candidate, t.epochs) == (FULL, epochs)]
        reference = sum(full) / len(full)
        return reference + difference >= self.wanted(epochs) - _ROUNDING
