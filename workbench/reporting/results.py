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
        protocol: name of the protocol.
        hits: number of correctly classified test images for each seed.
        images: number of test images.
        parameters, flops: parameters and FLOPs of the network.
        footprint, flops_ratio: parameters and FLOPs divided by those of the full network.
        latency_ms, latency_64_ms: medians at batch 1 and 64, in milliseconds; None if not measured.
        train_seconds: training time in seconds, mean over the seeds.
        run_ids: id of the MLflow run of each seed.
        weights: location of the best seed's weights; None if they were not kept.
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
        """Mean test accuracy over the seeds, in [0, 1]."""
        return statistics.fmean(self.accuracies)

    @property
    def accuracy_std(self) -> float | None:
        """Standard deviation over the seeds (ddof 1); None with a single seed."""
        return statistics.stdev(self.accuracies) if len(self.hits) > 1 else None

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """95 % interval of the mean: Student's t over seeds; Wilson over images with one seed.

        If all seeds have the same number of hits, their spread is unknown, and Wilson's interval
        is used too.
        """
        if len(set(self.hits)) > 1:
            return student_interval(self.accuracies)
        return wilson_interval(self.hits[0], self.images)

    @property
    def compressed(self) -> bool:
        """Whether the network is compressed."""
        return PROTOCOLS[self.protocol].compressed


@dataclass(frozen=True)
class Verdict:
    """The recommended network and the networks that it is compared with.

    Attributes:
        recommended: the smallest network within the tolerance.
        best: the network with the highest mean accuracy.
        reference: the best full network; None if no protocol with a full network was run.
        best_compressed: the best compressed network; None if none was trained.
        tolerance: percentage points that the accuracy may be below the best.
    """

    recommended: ProtocolResult
    best: ProtocolResult
    reference: ProtocolResult | None
    best_compressed: ProtocolResult | None
    tolerance: float


@dataclass(frozen=True)
class Adaptation:
    """The complete result of one ``adapt``.

    Attributes:
        settings: the resolved settings, as plain data.
        recipe: how many and which filters each layer keeps.
        protocols: one result per protocol, in the requested order.
        verdict: the recommended network.
        trained: number of trainings that this call ran; the others were found in the store.
        reused: ids of the runs that were found in the store.
        run_id: id of the MLflow run of the adaptation.
        tracking_uri: address of the store.
    """

    settings: Mapping[str, Any]
    recipe: Recipe
    protocols: tuple[ProtocolResult, ...]
    verdict: Verdict
    trained: int
    reused: tuple[str, ...]
    run_id: str
    tracking_uri: str
