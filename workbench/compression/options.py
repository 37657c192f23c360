"""What shapes a recipe, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RecipeOptions:
    """How many filters each group keeps.

    Attributes:
        method: a name in ``methods.METHODS``.
        energy: threshold of PFA-En, in (0, 1].
        divergence, gamma_map: of PFA-KL, names in ``pfa.DIVERGENCES`` and ``pfa.MAPS``.
        multiple_of: widths are rounded up to a multiple of this, as far as a group has filters.
        steps_left: of iterative PFA: a group is narrowed by this root of the method's factor.
    """

    method: str = "pfa-kl"
    energy: float | None = None
    divergence: str = "kl"
    gamma_map: str = "linear"
    multiple_of: int = 1
    steps_left: int = 1
