"""Candidates of a search: recipes at budgets, and the networks that they are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """One network to try.

    Attributes:
        share: largest share of the full network's FLOPs or parameters, in (0, 1].
        method: a name in ``METHODS``; "" for a full network.
        protocol: how it is trained.
    """

    share: float
    method: str
    protocol: str = "pfa-fine"

    @property
    def label(self) -> str:
        """Name for people."""
        return f"{self.method} at {100 * self.share:.3g} %" if self.method else self.protocol

    def options(self, budget: str) -> dict[str, Any]:
        """Its options of ``adapt``.

        Args:
            budget: name of the option that limits it, "flops" or "footprint".
        """
        return {"method": self.method, budget: self.share} if self.method else {}


#: The full network, fine-tuned in the same way as the candidates, and without training.
FULL = Candidate(1.0, "", "full-fine")
SOURCE = Candidate(1.0, "", "source")


def candidate_grid(methods: Sequence[str], shares: Sequence[float]) -> list[Candidate]:
    """Each method with each share, the smallest networks first."""
    return [Candidate(share, method) for share in sorted(shares) for method in methods]


def between(low: float, high: float) -> float:
    """The share in the middle of two on a logarithmic scale, with three digits."""
    return float(f"{(low * high) ** 0.5:.3g}")
