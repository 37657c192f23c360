"""From evidence to a recipe: how many filters each group keeps, and which.

``keep_counts`` computes only the widths, which is fast enough to try many thresholds for a budget.
``make_recipe`` also selects the filters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench import pfa
from workbench.compression.evidence.evidence import Evidence
from workbench.compression.groups.structure import Structure
from workbench.compression.methods import RECIPES, SELECTIONS
from workbench.compression.methods.uniform import share_of
from workbench.compression.recipes.recipe_options import RecipeOptions
from workbench.compression.recipes.recipes import LayerRecipe, Recipe


@dataclass(frozen=True)
class Count:
    """The keep count that the method wants, and the one that is built."""

    wanted: int
    kept: int


def keep_counts(evidence: Sequence[Evidence], options: RecipeOptions) -> dict[str, Count]:
    """Compute how many filters each group keeps.

    Groups that the options fix keep the given filters. The count of every recipe is raised to the
    share ``min_share`` if it is smaller. If a grouped convolution reads the filters, each of its
    groups must keep the same number, so the count is rounded up. A group's width includes its
    inactive filters. PFA recipes keep at most the active filters, except to round up to a multiple;
    a group without an active filter keeps one.
    """
    counts = {name: Count(fixed.count, fixed.count) for name, fixed in options.fixed.items()}
    free = options.free(evidence)
    if not free:
        return counts
    how_many = RECIPES[options.recipe]
    for found, wanted in zip(free, how_many.counts(free, options), strict=True):
        group = found.group
        if options.min_share:
            full = found.full_filters or group.filters
            wanted = max(wanted, min(group.filters, share_of(full, options.min_share)))
        aim = _part_of_the_way(group.filters, wanted, options.steps_left)
        if how_many.active_only:
            aim = min(aim, max(1, found.active))
        counts[group.name] = Count(wanted, group.buildable(aim, options.multiple_of))
    return counts


def make_recipe(
    evidence: Sequence[Evidence], structure: Structure, options: RecipeOptions
) -> Recipe:
    """Make the recipe with the recipe and selection of the options (paper: sections 3.1 to 3.3)."""
    counts = keep_counts(evidence, options)
    layers = []
    for found in evidence:
        group, count = found.group, counts[found.group.name]
        layers.append(
            LayerRecipe(
                layer=group.name,
                filters=group.filters,
                kept_indices=_select(found, count.kept, options),
                wanted=count.wanted,
                active=found.active,
                divergence=pfa.divergence(found.spectrum),
                energy=pfa.kept_energy(found.spectrum, count.kept),
                spectrum=tuple(float(share) for share in found.spectrum),
                shared_by=group.layers if len(group.layers) > 1 else (),
                measured_at="" if group.response.layer == group.name else str(group.response),
            )
        )
    images = evidence[0].images if evidence else 0
    reasons = {name: fixed.why for name, fixed in options.fixed.items() if fixed.why}
    return Recipe(
        options.recipe,
        images,
        tuple(layers),
        {**structure.uncompressed, **reasons},
        selection=options.selection,
    )


def _part_of_the_way(filters: int, wanted: int, steps_left: int) -> int:
    """Filters after the next of ``steps_left`` steps from ``filters`` to ``wanted``.

    All steps have the same factor.
    """
    if steps_left == 1:
        return wanted
    factor: float = (wanted / filters) ** (1 / steps_left)
    return math.ceil(filters * factor * (1 - 1e-9))


def _select(evidence: Evidence, keep: int, options: RecipeOptions) -> tuple[int, ...]:
    """The kept filters, the same number from each block, ascending."""
    fixed = options.fixed.get(evidence.group.name)
    if fixed is not None and not isinstance(fixed.keep, int):
        return fixed.keep
    blocks = evidence.group.block_indices()
    choose = SELECTIONS[options.selection]
    share = keep // len(blocks)
    chosen = [choose(evidence, block, share, options) for block in blocks]
    return tuple(int(index) for block in chosen for index in np.sort(block))
