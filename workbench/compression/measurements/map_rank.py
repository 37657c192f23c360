"""Average rank of feature maps, by filter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from workbench.compression.evidence.evidence import Array
from workbench.compression.evidence.responses import BATCH_SIZE, filters_of, observe
from workbench.compression.groups.structure import FilterGroup
from workbench.compression.measurements.zeros import behind_norms
from workbench.data.catalog import Source
from workbench.data.image_batches import ImageSet, batches, evenly_spaced
from workbench.models.networks import place

#: The paper's number of images; more do not change the average.
MOST_IMAGES = 500
_MAP_DIMS = 4


def measure(
    model: nn.Module,
    groups: Sequence[FilterGroup],
    images: ImageSet,
    source: Source,
    device: torch.device,
) -> dict[str, Array]:
    """Measure the average rank of each filter's map after ReLU, by filter group.

    The arguments are those of ``measure_responses``, and the maps those in which ``zeros`` counts.
    The arrays have shape (n,) and values from 0 to the smaller side of the map.
    """
    place(model, device).eval()
    chosen = evenly_spaced(images, MOST_IMAGES)
    sums = {group.name: np.zeros(group.filters) for group in groups}

    def collect(group: FilterGroup, output: Tensor) -> None:
        maps, places = filters_of(group, model, output)
        maps = maps.clamp(min=0)
        if maps.ndim == _MAP_DIMS and places == (2, 3):
            ranks = torch.linalg.matrix_rank(maps)
        else:  # a single value, or a vector of tokens
            ranks = (maps > 0).any(dim=places) if places else maps > 0
        sums[group.name] += ranks.sum(dim=0, dtype=torch.float64).cpu().numpy()

    points = behind_norms(model, groups, batches(chosen, 1, device), source)
    observe(model, points, batches(chosen, BATCH_SIZE, device), source, collect)
    return {name: total / len(chosen) for name, total in sums.items()}
