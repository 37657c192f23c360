"""Squared gradient of the loss by each filter's gate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from workbench.compression.evidence.evidence import Array
from workbench.compression.groups.structure import FilterGroup
from workbench.compression.measurements.filter_gates import BATCH_SIZE, open_gates
from workbench.data.augmentation import normalise
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
    """Measure the mean over images of (dl/dg)^2, by filter group; ``methods.taylor`` explains it.

    The arguments are those of ``measure_responses``; the labels of the images are numbers of the
    network's outputs. The arrays have shape (n,) and values of at least 0.
    """
    place(model, device).eval()
    sums = {
        group.name: torch.zeros(group.filters, dtype=torch.float64, device=device)
        for group in groups
    }
    with open_gates(model, groups) as gates:
        for pixels, labels in batches(images, BATCH_SIZE, device):
            logits = gates.logits(normalise(pixels, source))
            loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
            for name, found in gates.gradients(loss).items():
                sums[name] += found.square().sum(dim=0)
    return {name: (total / len(images)).cpu().numpy() for name, total in sums.items()}
