"""Random widths and random filters: the result of chance alone (method card).

Idea: a null hypothesis; many draws show what the best recipe of a size could reach.
Formula: for each group, f is drawn from the uniform distribution on (0, 1], and the group keeps
min(n, ceil(t f n)) filters, with one t for all groups; t is searched for the budget. Selection: a
random subset.
Cost: none.
When it does not help: a single draw is not informative; use several (``--draw 0``, ``1``, ...).

Paper: section 5.1 and figure 1 (random recipes at equal footprints).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.compression.evidence.evidence import Array, Evidence, Indices
from workbench.compression.groups.structure import FilterGroup
from workbench.compression.methods.uniform import share_of
from workbench.compression.recipes.recipe_options import RecipeOptions


def counts(evidence: Sequence[Evidence], options: RecipeOptions) -> list[int]:
    """Filters to keep in each group: the group's drawn share times the threshold."""
    assert options.threshold is not None  # set by the budget
    return [
        share_of(group.group.filters, options.threshold * _factor(group.group, options))
        for group in evidence
    ]


def thresholds(evidence: Sequence[Evidence], options: RecipeOptions) -> Array:
    """All factors at which any group's keep count changes, ascending."""
    steps = [
        np.arange(1, group.group.filters + 1) / group.group.filters / _factor(group.group, options)
        for group in evidence
    ]
    return np.unique(np.concatenate(steps))


def choose(evidence: Evidence, block: Indices, keep: int, options: RecipeOptions) -> Indices:
    """A random subset of a block's filters."""
    rng = _generator(evidence.group, options, f"selection {block[0]}")
    return rng.choice(block, keep, replace=False)


def _factor(group: FilterGroup, options: RecipeOptions) -> float:
    return float(1 - _generator(group, options, "width").random())  # in (0, 1]


def _generator(group: FilterGroup, options: RecipeOptions, purpose: str) -> np.random.Generator:
    """A random generator seeded by the draw, the purpose and the group's name."""
    return np.random.default_rng([options.draw, *f"{purpose} {group.name}".encode()])
