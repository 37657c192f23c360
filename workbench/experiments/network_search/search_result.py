"""What a search found: every candidate with its trials, the Pareto front and the choice."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.experiments.network_search.candidates import FULL, SOURCE, Candidate
from workbench.experiments.network_search.successive_halving import Rated, fronts
from workbench.experiments.network_search.trials import Trial
from workbench.reporting.results import Adaptation
from workbench.reporting.statistics import student_interval, wilson_interval


@dataclass(frozen=True)
class Entry:
    """One candidate with its longest trainings.

    Attributes:
        candidate: what was tried.
        epochs: length of these trainings.
        trials: one for each seed.
    """

    candidate: Candidate
    epochs: int
    trials: tuple[Trial, ...]

    @property
    def cost(self) -> float:
        """Cost of the network, in the unit of the search."""
        return self.trials[0].cost

    @property
    def accuracy(self) -> float:
        """Mean accuracy on the validation images over the seeds, in [0, 1]."""
        return statistics.fmean(trial.accuracy for trial in self.trials)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval: Student's t over seeds; Wilson over images with one seed."""
        values = [trial.accuracy for trial in self.trials]
        if len(set(values)) > 1:
            return student_interval(values)
        return wilson_interval(self.trials[0].hits, self.trials[0].images)


@dataclass(frozen=True)
class Found:
    """The trials of a search and its choice.

    Attributes:
        trials: in the order in which they were run.
        chosen: the cheapest sufficient candidate; ``FULL`` if none is sufficient.
        wanted: accuracy on the validation images that a candidate needs, in [0, 1].
        complete: whether the search ended before its time was over.
        epochs: length of the longest trainings that were planned.
        seen: whether the source network was trained on the validation images.
    """

    trials: tuple[Trial, ...]
    chosen: Candidate
    wanted: float
    complete: bool
    epochs: int
    seen: bool

    @property
    def entries(self) -> list[Entry]:
        """Every candidate with its longest trainings, by ascending cost."""
        return entries_of(self.trials)

    @property
    def front(self) -> list[Entry]:
        """The candidates that no other dominates, among those with the longest trainings.

        The untrained source takes part only if it was not trained on the validation images.
        """
        known = [each for each in self.entries if each.epochs == self.epochs]
        if not self.seen:
            known += [each for each in self.entries if each.candidate == SOURCE]
        known = known or self.entries
        rated = [Rated(n, each.cost, each.accuracy) for n, each in enumerate(known)]
        best = {each.candidate for each in fronts(rated)[0]} if rated else set()
        return [each for n, each in enumerate(known) if n in best]


@dataclass(frozen=True)
class Search:
    """The complete result of one ``shrink``.

    Attributes:
        found: trials and choice.
        adaptation: the chosen network, trained on all training images, beside the full network.
        settings: the options of the search, as plain data.
        run_id: id of the MLflow run of the search.
        tracking_uri: address of the store.
        report: location of the search's report, a path or an MLflow URI.
    """

    found: Found
    adaptation: Adaptation
    settings: Mapping[str, Any]
    run_id: str
    tracking_uri: str
    report: str

    @property
    def trained(self) -> int:
        """Number of trials that this call trained."""
        return sum(trial.new for trial in self.found.trials)


def entries_of(trials: Iterable[Trial]) -> list[Entry]:
    """Group trials by candidate, and keep the longest trainings of each; ascending cost."""
    groups: dict[Candidate, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.candidate, []).append(trial)
    entries = [_longest(candidate, group) for candidate, group in groups.items()]
    return sorted(entries, key=lambda each: (each.cost, each.accuracy))


def _longest(candidate: Candidate, trials: Sequence[Trial]) -> Entry:
    epochs = max(trial.epochs for trial in trials)
    longest = [trial for trial in trials if trial.epochs == epochs]
    return Entry(candidate, epochs, tuple(sorted(longest, key=lambda trial: trial.seed)))


def gap(trials: Sequence[Trial], candidate: Candidate, epochs: int) -> tuple[float, int] | None:
    """Mean difference to the full network over shared seeds of trainings of one length.

    Returns:
        The difference in [-1, 1] and the number of seeds; None without a shared seed.
    """
    own, full = (
        {t.seed: t.accuracy for t in trials if (t.candidate, t.epochs) == (one, epochs)}
        for one in (candidate, FULL)
    )
    seeds = own.keys() & full.keys()
    if not seeds:
        return None
    return statistics.fmean(own[seed] - full[seed] for seed in seeds), len(seeds)
