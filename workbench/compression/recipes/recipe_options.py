"""The options of a recipe, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workbench.compression.evidence.evidence import Evidence
from workbench.compression.recipes.layer_options import FixedLayer


@dataclass(frozen=True)
class RecipeOptions:
    """How many filters each group keeps, and which.

    Attributes:
        recipe: how many filters are kept, a name in ``methods.RECIPES``.
        selection: which filters are kept, a name in ``methods.SELECTIONS``.
        threshold: threshold of the recipe, if it has one, such as PFA-En's energy. A higher
            threshold keeps more filters.
        divergence, gamma_map: options of PFA-KL, names in ``pfa.DIVERGENCES`` and ``pfa.MAPS``.
        multiple_of: widths are rounded up to a multiple of this, or to all filters of a group.
        steps_left: remaining steps of iterative PFA; the next step narrows a group by this root
            of the recipe's factor.
        draw: number of the draw, for random recipes and selections.
        cost: unit of the price of a filter in cost-aware PFA, a name in ``method_names.COSTS``.
        fixed: filter groups that the recipe does not decide about, by name.
        min_share: share of each group's filters in the full network that is always kept, in [0, 1).
    """

    recipe: str = "pfa-kl"
    selection: str = "pfa"
    threshold: float | None = None
    divergence: str = "kl"
    gamma_map: str = "linear"
    multiple_of: int = 1
    steps_left: int = 1
    draw: int = 0
    cost: str = "flops"
    min_share: float = 0.0
    fixed: Mapping[str, FixedLayer] = field(default_factory=dict)

    def free(self, evidence: Sequence[Evidence]) -> list[Evidence]:
        """The evidence on the groups that the recipe decides about."""
        return [found for found in evidence if found.group.name not in self.fixed]
