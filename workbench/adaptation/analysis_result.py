"""What the analysis of a target finds: the recipe and the costs of both networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from workbench.compression.costs import Costs
from workbench.compression.recipes import Recipe
from workbench.training.protocols import Protocol

LATENCY_64 = "latency_64_ms"


@dataclass(frozen=True)
class Analysis:
    """What the analysis found.

    Attributes:
        recipe: how many and which filters each layer keeps.
        full, compressed: costs of both networks.
        measured: whether this call measured it; else it was found in the store.
        unrounded: costs before the widths were rounded to a multiple; None where they were not.
        start: of iterative PFA: makes the network that pfa-fine goes on from. None stands for
            the source's kept filters.
    """

    recipe: Recipe
    full: Costs
    compressed: Costs
    measured: bool = False
    unrounded: Costs | None = None
    start: Callable[[], nn.Module] | None = None

    def costs(self, protocol: Protocol) -> Costs:
        """Costs of the network that a protocol trains."""
        return self.compressed if protocol.compressed else self.full

    def metrics(self, protocol: Protocol) -> dict[str, float]:
        """The same as MLflow metrics, with the ratios to the full network."""
        return cost_metrics(self.costs(protocol), self.full)


def cost_metrics(costs: Costs, full: Costs) -> dict[str, float]:
    """Costs of a network and their ratios to the full one's, under the names of the store.

    Ratios and times are rounded: MLflow shows every digit that it is given.
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
