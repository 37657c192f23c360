"""PFA-KL as a recipe; the mathematics and its cards are in ``pfa.kl`` and ``pfa.divergences``."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.compression.evidence import Evidence
from workbench.compression.recipe_options import RecipeOptions
from workbench.pfa import divergence_keep_count


def counts(evidence: Sequence[Evidence], options: RecipeOptions) -> list[int]:
    """Filters to keep in each group, by the divergence and the map of the options."""
    return [
        divergence_keep_count(group.spectrum, options.divergence, options.gamma_map)
        for group in evidence
    ]
