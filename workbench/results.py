"""Results of an adaptation: accuracies over seeds, their spread, and what to recommend."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.compression.recipes import Recipe
from workbench.protocols import PROTOCOLS

_CONFIDENCE = 0.95


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


def judge(results: Sequence[ProtocolResult], tolerance: float) -> Verdict:
    """Recommend the smallest network whose mean accuracy is close enough to the best.

    Args:
        results: at least one.
        tolerance: in percentage points, 0 to 100.
    """
    best = max(results, key=lambda result: result.accuracy_mean)
    # 1e-9: 0.99 - 0.01 must not lose to 0.98 by the last bit.
    enough = best.accuracy_mean - tolerance / 100 - 1e-9
    good = [result for result in results if result.accuracy_mean >= enough]
    recommended = min(good, key=lambda result: (result.parameters, -result.accuracy_mean))
    full = [result for result in results if not result.compressed]
    small = [result for result in results if result.compressed]
    return Verdict(recommended, best, _most_accurate(full), _most_accurate(small), tolerance)


def _most_accurate(results: Sequence[ProtocolResult]) -> ProtocolResult | None:
    return max(results, key=lambda result: result.accuracy_mean, default=None)


def student_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of at least two values in [0, 1], by Student's t."""
    mean, half = statistics.fmean(values), _student_half(values)
    return max(0.0, mean - half), min(1.0, mean + half)


def paired_interval(one: ProtocolResult, other: ProtocolResult) -> tuple[float, float] | None:
    """95 % interval of the mean difference of accuracies over the same seeds, by Student's t.

    None where the seeds say nothing of its spread: with one of them, or when all agree.

    Args:
        one, other: with the same seeds in the same order.
    """
    apart = [a - b for a, b in zip(one.accuracies, other.accuracies, strict=True)]
    if len({round(each, 9) for each in apart}) < 2:
        return None
    mean, half = statistics.fmean(apart), _student_half(apart)
    return mean - half, mean + half


def _student_half(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of the mean of at least two values."""
    from scipy.stats import t

    error = statistics.stdev(values) / math.sqrt(len(values))
    return float(t.ppf((1 + _CONFIDENCE) / 2, len(values) - 1)) * error


def wilson_interval(hits: int, images: int) -> tuple[float, float]:
    """95 % interval of a share, by Wilson's score."""
    from scipy.stats import binomtest

    interval = binomtest(hits, images).proportion_ci(_CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


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
