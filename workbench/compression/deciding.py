"""From responses to a recipe: how many filters each group keeps, and which.

Three steps, each plain data: ``diagnose`` reads what the responses say (once, the costly one),
``keep_counts`` turns it into widths (cheap: a budget tries many), ``make_recipe`` selects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench import pfa
from workbench.compression.methods import METHODS
from workbench.compression.options import RecipeOptions
from workbench.compression.recipes import LayerRecipe, Recipe
from workbench.compression.structure import FilterGroup, Structure


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What the responses say of one filter group.

    Attributes:
        spectrum: shape (n,), descending shares of the energy.
        correlation: shape (n, n), Pearson's.
        active: how many filters respond at all.
        images: how many images the responses were measured on.
    """

    group: FilterGroup
    spectrum: NDArray[np.float64]
    correlation: NDArray[np.float64]
    active: int
    images: int


@dataclass(frozen=True)
class Count:
    """The method's keep count, and the one that is built."""

    wanted: int
    kept: int


def diagnose(
    responses: Mapping[str, pfa.StreamingCovariance], structure: Structure
) -> tuple[Diagnosis, ...]:
    """Spectrum, correlation and activity of every filter group, in the network's order.

    Args:
        responses: by filter group, from ``responses.measure_responses``.
    """
    found = []
    for group in structure.groups:
        moments = responses[group.name]
        covariance = moments.covariance
        found.append(
            Diagnosis(
                group=group,
                spectrum=pfa.spectrum(covariance),
                correlation=pfa.correlation(covariance),
                active=int(np.count_nonzero(~pfa.inactive_filters(covariance))),
                images=moments.count,
            )
        )
    return tuple(found)


def keep_counts(diagnoses: Sequence[Diagnosis], options: RecipeOptions) -> dict[str, Count]:
    """How many filters each group keeps.

    Inactive filters count in a group's width; none is kept while the method asks for more
    filters than are active, except to fill up a multiple. A group without an active filter
    keeps one. Where a grouped convolution reads the filters, the same number is kept in each of
    its groups, so the count is rounded up to what can be built.
    """
    counts = {}
    for diagnosis in diagnoses:
        group = diagnosis.group
        wanted = METHODS[options.method](diagnosis.spectrum, options)
        aim = _part_of_the_way(group.filters, wanted, options.steps_left)
        aim = min(aim, max(1, diagnosis.active))
        counts[group.name] = Count(wanted, group.buildable(aim, options.multiple_of))
    return counts


def make_recipe(
    diagnoses: Sequence[Diagnosis], structure: Structure, options: RecipeOptions
) -> Recipe:
    """The recipe: counts by the method, filters by their correlation (method.md, section 4)."""
    counts = keep_counts(diagnoses, options)
    layers = []
    for diagnosis in diagnoses:
        group, count = diagnosis.group, counts[diagnosis.group.name]
        layers.append(
            LayerRecipe(
                layer=group.name,
                filters=group.filters,
                kept_indices=_select(diagnosis.correlation, count.kept, group),
                wanted=count.wanted,
                active=diagnosis.active,
                divergence=pfa.divergence(diagnosis.spectrum),
                energy=pfa.kept_energy(diagnosis.spectrum, count.kept),
                spectrum=tuple(float(share) for share in diagnosis.spectrum),
                shared_by=group.layers if len(group.layers) > 1 else (),
                measured_at="" if group.response.layer == group.name else str(group.response),
            )
        )
    images = diagnoses[0].images if diagnoses else 0
    return Recipe(options.method, images, tuple(layers), structure.uncompressed)


def _part_of_the_way(filters: int, wanted: int, steps_left: int) -> int:
    """Filters after one of the equal factors that lead from ``filters`` to ``wanted``."""
    if steps_left == 1:
        return wanted
    factor: float = (wanted / filters) ** (1 / steps_left)
    return math.ceil(filters * factor * (1 - 1e-9))


def _select(correlation: NDArray[np.float64], keep: int, group: FilterGroup) -> tuple[int, ...]:
    """The filters kept, ascending: as many of each block, chosen within it."""
    blocks = group.block_indices()
    share = keep // len(blocks)
    return tuple(
        int(block[index])
        for block in blocks
        for index in pfa.select_filters(correlation[np.ix_(block, block)], share)
    )
