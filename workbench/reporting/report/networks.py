"""The networks of a recorded adaptation, read from the plain data that it stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.compression.recipes.recipe_settings import ONNX
from workbench.data.checked_values import listed, mapped, number, short_text, whole
from workbench.training.protocols import PROTOCOLS

_MOST_SEEDS = 10_000


@dataclass(frozen=True)
class ReportedNetwork:
    """One network of an adaptation, over all its seeds.

    Attributes:
        protocol, stage: as in ``results.ProtocolResult``; no stage is "".
        accuracies: of each seed, in [0, 1].
        low, high: 95 % interval of the mean, in [0, 1].
        parameters, flops: of the network; footprint and flops_ratio are their ratios to the full
            network's.
        latency_ms, latency_64_ms: median of one image, and of a batch of 64, in the runtime in
            which the network is compared; None if not measured.
        runtime: that runtime; "torch" without other timings.
        file_bytes: size of its file; None if unknown.
        train_seconds: mean over the seeds.
        run_ids: id of each seed's run.
    """

    protocol: str
    stage: str
    accuracies: tuple[float, ...]
    low: float
    high: float
    parameters: int
    footprint: float
    flops: int
    flops_ratio: float
    latency_ms: float | None
    latency_64_ms: float | None
    runtime: str
    file_bytes: int | None
    train_seconds: float
    run_ids: tuple[str, ...]

    @property
    def label(self) -> str:
        """Name of the network for people."""
        return f"{self.protocol} {self.stage}".strip()

    @property
    def accuracy(self) -> float:
        """Mean accuracy over the seeds, in [0, 1]."""
        return sum(self.accuracies) / len(self.accuracies)

    @property
    def compressed(self) -> bool:
        """Whether the network is compressed."""
        return PROTOCOLS[self.protocol].compressed


def networks_from(content: object) -> tuple[ReportedNetwork, ...]:
    """The networks in the data that ``json_results.as_dict`` made.

    Raises:
        ValueError: when the data are not a result.
    """
    saved = mapped("it", content)
    rows = listed("protocols", saved.get("protocols"), 1) + listed(
        "stages", saved.get("stages", [])
    )
    return tuple(_network(mapped("a network", row)) for row in rows)


def _network(row: dict[str, Any]) -> ReportedNetwork:
    protocol = short_text("protocol", row.get("protocol"))
    if protocol not in PROTOCOLS:
        raise ValueError(f"there is no protocol '{protocol}'")
    accuracies = [
        number("an accuracy", value, 0, 1)
        for value in listed("accuracies", row.get("accuracies"), 1, _MOST_SEEDS)
    ]
    low, high = (
        number("an interval", value, 0, 1)
        for value in listed("accuracy_interval", row.get("accuracy_interval"), 2, 2)
    )
    size, runtime, (latency, latency_64) = row.get("file_bytes"), *_latencies(row)
    return ReportedNetwork(
        protocol=protocol,
        stage=short_text("stage", row.get("stage", "")),
        accuracies=tuple(accuracies),
        low=low,
        high=high,
        parameters=whole("parameters", row.get("parameters"), 1),
        footprint=number("footprint", row.get("footprint")),
        flops=whole("flops", row.get("flops"), 1),
        flops_ratio=number("flops_ratio", row.get("flops_ratio")),
        latency_ms=latency,
        latency_64_ms=latency_64,
        runtime=runtime,
        file_bytes=None if size is None else whole("file_bytes", size),
        train_seconds=number("train_seconds", row.get("train_seconds")),
        run_ids=tuple(short_text("a run's id", each) for each in listed("run_ids", row["run_ids"])),
    )


def _latencies(row: dict[str, Any]) -> tuple[str, tuple[float | None, float | None]]:
    """The runtime in which a network is compared, and its medians at batch 1 and 64."""
    timed = mapped("latencies", row.get("latencies", {}))
    runtime = ONNX if ONNX in timed else next(iter(timed), "") if row.get("stage") else ""
    if not runtime:
        plain = (row.get(name) for name in ("latency_ms", "latency_64_ms"))
        one, many = (None if value is None else number("a latency", value) for value in plain)
        return "torch", (one, many)
    both: Mapping[str, Any] = mapped("a latency", timed[runtime])
    one, many = (
        number("a latency", mapped("a timing", both.get(f"batch_{size}")).get("median"))
        for size in (1, 64)
    )
    return short_text("a runtime", runtime), (one, many)


def compared_pair(
    networks: tuple[ReportedNetwork, ...], recommended: str
) -> tuple[ReportedNetwork | None, ReportedNetwork | None]:
    """The full and the small network whose answers are compared.

    The full one is the most accurate float32 network that is not compressed. The small one is the
    recommended network, or the most accurate compressed one if a full network is recommended.
    """
    plain = [each for each in networks if not each.stage]
    full = [each for each in plain if not each.compressed]
    small = [each for each in networks if each.label == recommended]
    if not small or not (small[0].compressed or small[0].stage):
        small = [each for each in plain if each.compressed]
    return (
        max(full, key=lambda each: each.accuracy, default=None),
        max(small, key=lambda each: each.accuracy, default=None),
    )
