"""What shapes a recipe, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RecipeOptions:
    """How many filters each group keeps, and which.

    Attributes:
        recipe: how many, a name in ``methods.RECIPES``.
        selection: which, a name in ``methods.SELECTIONS``.
        threshold: of recipes that have one: more keeps more. PFA-En's energy, for one.
        divergence, gamma_map: of PFA-KL, names in ``pfa.DIVERGENCES`` and ``pfa.MAPS``.
        multiple_of: widths are rounded up to a multiple of this, as far as a group has filters.
        steps_left: of iterative PFA: a group is narrowed by this root of the recipe's factor.
        draw: number of the draw, of what is random.
    """

    recipe: str = "pfa-kl"
    selection: str = "pfa"
    threshold: float | None = None
    divergence: str = "kl"
    gamma_map: str = "linear"
    multiple_of: int = 1
    steps_left: int = 1
    draw: int = 0
