"""Share of zeros after ReLU, by filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from workbench.compression.evidence.evidence import Array
from workbench.compression.evidence.responses import BATCH_SIZE, Batches, filters_of, observe
from workbench.compression.groups.norms_behind import norms_behind
from workbench.compression.groups.structure import FilterGroup, ResponsePoint
from workbench.data.catalog import Source
from workbench.data.image_batches import ImageSet, batches
from workbench.models.networks import place


def measure(
    model: nn.Module,
    groups: Sequence[FilterGroup],
    images: ImageSet,
    source: Source,
    device: torch.device,
) -> dict[str, Array]:
    """Measure the share of zeros after ReLU over images and positions, by filter group.

    ReLU sets non-positive values to zero. They are counted in the response or, if a batch norm
    reads the response directly, in the output of the batch norm.

    The arguments are those of ``measure_responses``. The arrays have shape (n,) and values in
    [0, 1].
    """
    place(model, device).eval()
    zeros = {group.name: np.zeros(group.filters) for group in groups}
    places = dict.fromkeys(zeros, 0)

    def collect(group: FilterGroup, output: Tensor) -> None:
        rows, dims = filters_of(group, model, output)
        silent = (rows <= 0).sum(dim=(0, *dims))
        zeros[group.name] += silent.cpu().numpy()
        places[group.name] += rows.numel() // group.filters

    points = behind_norms(model, groups, batches(images, 1, device), source)
    observe(model, points, batches(images, BATCH_SIZE, device), source, collect)
    return {name: count / places[name] for name, count in zeros.items()}


def behind_norms(
    model: nn.Module, groups: Sequence[FilterGroup], images: Batches, source: Source
) -> list[tuple[FilterGroup, ResponsePoint]]:
    """Where ReLU reads each group: its response or, behind it, a batch norm's output.

    Args:
        images: batches, of which one is used.
    """
    outputs: dict[str, Tensor] = {}

    def keep(group: FilterGroup, output: Tensor) -> None:
        outputs[group.name] = output

    points = [(group, group.response) for group in groups if group.response.layer is not None]
    with norms_behind(model, outputs) as norms:
        observe(model, points, islice(images, 1), source, keep)
    return [
        (group, replace(group.response, layer=norms.get(group.name, group.response.layer)))
        for group in groups
    ]
