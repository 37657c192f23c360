"""PFA-En as a recipe; the mathematics and its card are in ``pfa.energy``."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.compression.evidence.evidence import Array, Evidence
from workbench.compression.recipes.recipe_options import RecipeOptions
from workbench.compression.recipes.recipe_settings import DEFAULT_ENERGY
from workbench.pfa import energy_keep_count, energy_thresholds


def counts(evidence: Sequence[Evidence], options: RecipeOptions) -> list[int]:
    """Filters of each group that keep at least a share ``threshold`` of its energy."""
    energy = options.threshold or DEFAULT_ENERGY
    return [energy_keep_count(group.spectrum, energy) for group in evidence]


def thresholds(evidence: Sequence[Evidence], options: RecipeOptions) -> Array:
    """All energies at which any group's keep count changes, ascending, in (0, 1]."""
    return energy_thresholds(group.spectrum for group in evidence)
