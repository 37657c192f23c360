"""Results of an adaptation: accuracies over seeds, their spread, and what to recommend."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.compression.costs.costs import Timing
from workbench.compression.recipes.recipes import Recipe
from workbench.reporting.statistics import student_interval, wilson_interval
from workbench.training.protocols import PROTOCOLS

#: Times at batch 1 and at batch 64 by the name of the runtime, as in ``deployment.runtimes``.
Timings = Mapping[str, tuple[Timing, Timing]]


@dataclass(frozen=True)
class ProtocolResult:
    """One protocol over all its seeds, or one stage after it.

    Attributes:
        protocol: name of the protocol.
        hits: number of correctly classified test images for each seed.
        images: number of test images.
        parameters, flops: parameters and FLOPs of the network.
        footprint, flops_ratio: parameters and FLOPs divided by those of the full network.
        latency_ms, latency_64_ms: medians at batch 1 and 64 in torch, in milliseconds; None if not
            measured.
        train_seconds: training time in seconds, mean over the seeds.
        run_ids: id of the MLflow run of each seed.
        weights: location of the best seed's weights, or of its file if this is a stage; None if
            they were not kept.
        stage: name of the stage; "" for the network as trained.
        file_bytes: size of the weights or of the stage's file, of the best seed; None if unknown.
        timings: times in the runtimes that were measured.
        runtime: runtime of ``timings`` in which this network is compared; "" without timings.
        correct: for each seed, which test images are classified correctly, shape (images,); empty
            if not recorded.
        left_float: operators of a stage's file that compute in float32.
        exit_shares: share of the images that leave at each exit of a stage with exits, the last
            exit included, mean over the seeds; empty for other networks.
        attacks: accuracies under attack, in [0, 1], of the seeds that have them, by the names of
            ``attack_names.attack_metric``.
        origins: for each seed of a stage, id of the run that trained its network.
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
    stage: str = ""
    file_bytes: int | None = None
    timings: Timings = field(default_factory=dict)
    runtime: str = ""
    correct: tuple[NDArray[np.bool_], ...] = field(default=(), compare=False, repr=False)
    left_float: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    exit_shares: tuple[float, ...] = ()
    attacks: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name of the network for people: the protocol, and the stage if there is one."""
        return f"{self.protocol} {self.stage}".strip()

    @property
    def timing(self) -> tuple[Timing, Timing] | None:
        """Times at batch 1 and 64 in the runtime of this network; None if not measured."""
        return self.timings.get(self.runtime)

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
        recommended: the preferred network within the tolerance.
        best: the network with the highest mean accuracy.
        reference: the best full network in float32; None if no protocol with a full network was
            run.
        best_compressed: the best compressed network in float32; None if none was trained.
        tolerance: percentage points that the accuracy may be below the best.
        prefer: "speed", "size" or "accuracy".
        p_value: of the paired test of the recommended and the best network on the test images
            (``statistics.paired_p_value``); None if they are the same or the test is not possible.
        refused: label of each network that a stage made and that is not recommended, with the
            reason.
    """

    recommended: ProtocolResult
    best: ProtocolResult
    reference: ProtocolResult | None
    best_compressed: ProtocolResult | None
    tolerance: float
    prefer: str = "speed"
    p_value: float | None = None
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Adaptation:
    """The complete result of one ``adapt``.

    Attributes:
        settings: the resolved settings, as plain data.
        recipe: how many and which filters each layer keeps.
        protocols: one result per protocol, in the requested order.
        stages: one result per protocol and stage; empty without stages.
        verdict: the recommended network.
        trained: number of trainings that this call ran; the others were found in the store.
        reused: ids of the runs that were found in the store.
        run_id: id of the MLflow run of the adaptation.
        tracking_uri: address of the store.
        report: location of the report, a path or an MLflow URI; empty until it is written.
    """

    settings: Mapping[str, Any]
    recipe: Recipe
    protocols: tuple[ProtocolResult, ...]
    verdict: Verdict
    trained: int
    reused: tuple[str, ...]
    run_id: str
    tracking_uri: str
    stages: tuple[ProtocolResult, ...] = ()
    report: str = ""

    @property
    def networks(self) -> tuple[ProtocolResult, ...]:
        """All networks: those of the protocols, then those of the stages."""
        return self.protocols + self.stages
