"""Candidates of a search: recipes at budgets, and the networks that they are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.compression.recipes.recipe_settings import RecipeSettings


@dataclass(frozen=True)
class Candidate:
    """One network to try.

    Attributes:
        share: largest share of the full network's FLOPs or parameters, in (0, 1].
        method: a name in ``METHODS``; "" for a full network.
        protocol: how it is trained.
        selection: the selection of all candidates of the search; "" for the method's own.
    """

    share: float
    method: str
    protocol: str = "pfa-fine"
    selection: str = field(default="", compare=False)

    @property
    def label(self) -> str:
        """Name for people."""
        if not self.method:
            return self.protocol
        recipe = RecipeSettings.of(method=self.method, selection=self.selection or None)
        return f"{recipe.label} at {100 * self.share:.3g} %"

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
