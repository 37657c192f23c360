"""The result of a target's analysis: the recipe and the costs of both networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from workbench.compression.compensation.compensation_report import CompensationReport
from workbench.compression.costs.costs import Costs
from workbench.compression.recipes.correlation_record import LayerCorrelation
from workbench.compression.recipes.recipes import Recipe
from workbench.training.protocols import Protocol

LATENCY_64 = "latency_64_ms"


@dataclass(frozen=True)
class Analysis:
    """The result of an analysis.

    Attributes:
        recipe: how many and which filters each layer keeps.
        full, compressed: costs of both networks.
        measured: whether this call measured it; False if it was found in the store.
        unrounded: costs before the widths were rounded to a multiple; None without rounding.
        runtime_ms: median time of one image of the compressed network in the runtime of a latency
            budget, in milliseconds; None without such a budget, and for torch.
        start: makes the network that pfa-fine starts from, after iterative PFA or a training of
            gates. None means the kept filters of the source network.
        prepared: makes the compressed network with all classes of the source, after compensation
            or a repair; None without them.
        compensation: what the compensation did; None without it.
        correlations: of each layer, before and after the selection; empty if an earlier version
            measured the responses.
    """

    recipe: Recipe
    full: Costs
    compressed: Costs
    measured: bool = False
    unrounded: Costs | None = None
    runtime_ms: float | None = None
    start: Callable[[], nn.Module] | None = None
    prepared: Callable[[], nn.Module] | None = None
    compensation: CompensationReport | None = None
    correlations: tuple[LayerCorrelation, ...] = ()

    def costs(self, protocol: Protocol) -> Costs:
        """Costs of the network that a protocol trains."""
        return self.compressed if protocol.compressed else self.full

    def metrics(self, protocol: Protocol) -> dict[str, float]:
        """These costs as MLflow metrics, with their ratios to the full network."""
        return cost_metrics(self.costs(protocol), self.full)


def cost_metrics(costs: Costs, full: Costs) -> dict[str, float]:
    """Costs of a network and their ratios to those of the full network, as MLflow metrics.

    Ratios are rounded to 6 decimals and times to 0.001 ms, because MLflow shows all digits.
    """
    known = {
        "parameters": costs.parameters,
        "footprint": round(costs.parameters / full.parameters, 6),
        "flops": costs.flops,
        "flops_ratio": round(costs.flops / full.flops, 6),
    }
    for name, latency in (("latency_ms", costs.latency_ms), (LATENCY_64, costs.latency_64_ms)):
        if latency is not None:
            known[name] = round(latency, 3)
    return known
