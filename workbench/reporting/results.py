"""Results of an adaptation: accuracies over seeds, their spread, and what to recommend."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.compression.recipes import Recipe
from workbench.reporting.statistics import student_interval, wilson_interval
from workbench.training.protocols import PROTOCOLS


@dataclass(frozen=True)
class ProtocolResult:
    """One protocol over all its seeds.

    Attributes:
        protocol: its name.
        hits: test images named correctly, a seed each.
        images: test images.
        parameters, flops: of the network.
        footprint, flops_ratio: the same over the full network's.
        latency_ms, latency_64_ms: medians at batch 1 and 64, None where not measured.
        train_seconds: mean over the seeds.
        run_ids: the MLflow run of each seed.
        weights: where the best seed's weights are, None when they were not kept.
    """

    protocol: str
    hits: tuple[int, ...]
    images: int
    parameters: int
    footprint: float
    flops: int
    flops_ratio: float
    latency_ms: float | None
    latency_64_ms: float | None
    train_seconds: float
    run_ids: tuple[str, ...]
    weights: str | None

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Test accuracy of each seed, in [0, 1]."""
        return tuple(hits / self.images for hits in self.hits)

    @property
    def accuracy_mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.accuracies)

    @property
    def accuracy_std(self) -> float | None:
        """Standard deviation over the seeds (ddof 1); None with a single one."""
        return statistics.stdev(self.accuracies) if len(self.hits) > 1 else None

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """95 % interval of the mean: Student's t over seeds; Wilson over images with one seed.

        Seeds that agree to the image say nothing of their spread: then it is Wilson's, too.
        """
        if len(set(self.hits)) > 1:
            return student_interval(self.accuracies)
        return wilson_interval(self.hits[0], self.images)

    @property
    def compressed(self) -> bool:
        """Whether the network is the recipe's, not the full one."""
        return PROTOCOLS[self.protocol].compressed


@dataclass(frozen=True)
class Verdict:
    """What to take and why.

    Attributes:
        recommended: the smallest network that is good enough.
        best: the network with the highest mean accuracy.
        reference: the best full network, None when no full protocol was run.
        best_compressed: the best compressed one, None when none was run.
        tolerance: percentage points that "good enough" may lie below the best.
    """

    recommended: ProtocolResult
    best: ProtocolResult
    reference: ProtocolResult | None
    best_compressed: ProtocolResult | None
    tolerance: float


@dataclass(frozen=True)
class Adaptation:
    """Everything that one ``adapt`` found.

    Attributes:
        settings: as they were resolved, plain data.
        recipe: how many and which filters each layer keeps.
        protocols: one result each, in the order asked for.
        verdict: which network to take.
        trained: how many trainings this call ran; the others were found in the store.
        reused: ids of the runs that were found.
        run_id: of the MLflow run that holds all this.
        tracking_uri: of the store.
    """

    settings: Mapping[str, Any]
    recipe: Recipe
    protocols: tuple[ProtocolResult, ...]
    verdict: Verdict
    trained: int
    reused: tuple[str, ...]
    run_id: str
    tracking_uri: str
