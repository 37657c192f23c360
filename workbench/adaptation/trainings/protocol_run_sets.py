"""The recorded runs of one protocol and of the stages after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from workbench.adaptation.stages.stage_runs import StageRun
from workbench.store.runs import StoredRun
from workbench.training.protocols import Protocol


@dataclass(frozen=True)
class ProtocolRuns:
    """The runs of one protocol, one for each seed.

    Attributes:
        trained: number of runs that this call trained.
        best: the run whose weights are kept; None if there is none.
        stages: the runs of each stage, by its name; a seed whose weights were not kept may lack.
    """

    protocol: Protocol
    runs: tuple[StoredRun, ...]
    trained: int
    best: StoredRun | None
    stages: Mapping[str, tuple[StageRun, ...]] = field(default_factory=dict)

    def best_stage(self, stage: str) -> StoredRun | None:
        """The run of a stage after the best run; None if there is none."""
        best = self.best
        found = (s.run for s in self.stages.get(stage, ()) if best and s.origin == best)
        return next(found, None)
