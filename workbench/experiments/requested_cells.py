"""The cells that an experiment requests, and the calls of ``adapt`` that train the missing ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workbench.adaptation.steps.step_work import options_work
from workbench.experiments.result_rows import Cell
from workbench.training.time_left import TRAINING, PlannedStep


@dataclass(frozen=True)
class Part:
    """The trainings of one adaptation in an experiment.

    Attributes:
        options: options of ``adapt``, without seeds and protocols.
        protocols: the protocols to train.
        seeds: the seeds to train with.
        label: the part's label on its page, besides the domain: a recipe, or a method or curve
            with the requested footprint.
    """

    options: Mapping[str, Any]
    protocols: tuple[str, ...]
    seeds: range
    label: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wish:
    """One requested cell.

    Attributes:
        part: its part.
        protocol, seed: its training in the part.
        cell: its id.
        source: text that identifies the source weights.
    """

    part: Part
    protocol: str
    seed: int
    cell: str
    source: str


Found = list[tuple[Wish, Cell]]


@dataclass
class Anew:
    """What a call with ``--fresh`` has trained, so that it trains nothing twice.

    Attributes:
        cells: ids of the cells.
        sources: texts that identify the source weights.
    """

    cells: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Call:
    """One call of ``adapt``: the missing protocols and seeds of a part.

    Attributes:
        wishes: all requested cells of the part.
    """

    part: Part
    protocols: tuple[str, ...]
    seeds: range
    wishes: Sequence[Wish]

    @property
    def title(self) -> str:
        """Name for people."""
        return " · ".join(filter(None, (str(self.part.options["target"]), *self.part.label)))

    @property
    def source(self) -> str:
        """Text that identifies the source weights."""
        return self.wishes[0].source

    @property
    def cells(self) -> dict[tuple[str, int], str]:
        """Ids of the part's requested cells, by protocol and seed."""
        return {(wish.protocol, wish.seed): wish.cell for wish in self.wishes}

    def options(self, anew: Anew | None) -> dict[str, Any]:
        """The options of ``adapt``."""
        return {
            "keep_weights": "none",
            **self.part.options,
            "protocols": self.protocols,
            "seeds": len(self.seeds),
            "first_seed": self.seeds[0],
            "fresh": anew is not None,
        }

    def fresh_source(self, anew: Anew | None) -> bool:
        """Whether the source network is trained again."""
        return anew is not None and self.source not in anew.sources


def missing_calls(wishes: Sequence[Wish], known: Collection[str]) -> list[Call]:
    """One call for each run of consecutive seeds of a part that lack the same protocols.

    Args:
        known: ids of the cells that are finished.
    """
    return [
        Call(part, names, seeds, [wish for wish in wishes if wish.part is part])
        for part, names, seeds in _missing(wishes, known)
    ]


def planned_calls(wishes: Sequence[Wish], calls: Sequence[Call]) -> list[PlannedStep]:
    """One step for each call; the first one has the work of the recorded cells."""
    steps = []
    for call in calls:
        work = options_work(call.part.options, call.protocols, len(call.seeds))
        steps.append(PlannedStep(call.title, {TRAINING: work}))
    to_do = {
        (id(call.part), name, seed)
        for call in calls
        for name in call.protocols
        for seed in call.seeds
    }
    recorded = sum(
        options_work(wish.part.options, (wish.protocol,), 1)
        for wish in wishes
        if (id(wish.part), wish.protocol, wish.seed) not in to_do
    )
    return [replace(step, recorded=0.0 if n else recorded) for n, step in enumerate(steps)]


def _missing(
    wishes: Iterable[Wish], known: Collection[str]
) -> Iterator[tuple[Part, tuple[str, ...], range]]:
    """Parts, protocols and consecutive seeds of missing cells, for one call of ``adapt`` each."""
    parts: dict[int, tuple[Part, dict[int, tuple[str, ...]]]] = {}
    asked: set[str] = set()
    for wish in wishes:
        if wish.cell not in known and wish.cell not in asked:
            asked.add(wish.cell)
            _, lacking = parts.setdefault(id(wish.part), (wish.part, {}))
            lacking[wish.seed] = (*lacking.get(wish.seed, ()), wish.protocol)
    for part, lacking in parts.values():
        start = None
        for seed in sorted(lacking):
            start = seed if start is None else start
            if lacking.get(seed + 1) != lacking[seed]:
                yield part, lacking[seed], range(start, seed + 1)
                start = None
