"""Second-order change of the loss when pairs of filters are removed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from workbench.compression.evidence.evidence import Array
from workbench.compression.groups.structure import FilterGroup
from workbench.compression.measurements.filter_gates import BATCH_SIZE, open_gates
from workbench.data.augmentation import normalise
from workbench.data.catalog import Source
from workbench.data.image_batches import ImageSet, batches, evenly_spaced
from workbench.models.networks import place

#: Most images that are used: each needs one backward pass per class.
MOST_IMAGES = 512
#: Images times classes of a batch, which bounds the memory of the gradients.
_MOST_ROWS = 6400


def measure(
    model: nn.Module,
    groups: Sequence[FilterGroup],
    images: ImageSet,
    source: Source,
    device: torch.device,
) -> dict[str, Array]:
    """Measure the costs of removing filters in pairs; ``methods.ccp`` explains them.

    The arguments are those of ``measure_responses``; the labels of the images are numbers of the
    network's outputs. The arrays are symmetric, of shape (n, n): the loss changes by the sum of the
    entries between removed filters.
    """
    place(model, device).eval()
    chosen = evenly_spaced(images, MOST_IMAGES)
    sums = {
        group.name: torch.zeros(group.filters, group.filters, dtype=torch.float64, device=device)
        for group in groups
    }
    size = min(BATCH_SIZE, max(1, _MOST_ROWS // len(np.unique(images.labels))))
    with open_gates(model, groups) as gates:
        for pixels, labels in batches(chosen, size, device):
            logits = gates.logits(normalise(pixels, source))
            classes = logits.shape[1]
            each = [
                gates.gradients(logits[:, c].sum(), again=c + 1 < classes) for c in range(classes)
            ]
            shares = logits.detach().double().softmax(dim=1)
            surplus = shares - nn.functional.one_hot(labels, classes)
            for name in sums:
                changes = torch.stack([found[name] for found in each], dim=1)
                sums[name] += pair_costs(changes, surplus, shares)
    return {name: (total / len(chosen)).cpu().numpy() for name, total in sums.items()}


def pair_costs(changes: Tensor, slope: Tensor, shares: Tensor | None) -> Tensor:
    """Costs of removing filters in pairs, summed over images: shape (n, n).

    Args:
        changes: shape (b, classes, n): gradients of the logits by the filters' gates.
        slope: shape (b, classes): gradient of the loss by the logits.
        shares: shape (b, classes): probabilities, for the curvature diag(p) - p p' of the
            cross-entropy; None for the identity, the curvature of half a squared error.
    """
    if shares is None:
        rows = changes
    else:  # diag(p) - p p' is the covariance of a class that is drawn with these probabilities
        means = (shares[:, :, None] * changes).sum(dim=1, keepdim=True)
        rows = shares.sqrt()[:, :, None] * (changes - means)
    rows = rows.flatten(0, 1)
    costs = rows.T @ rows / 2
    first = -(slope[:, :, None] * changes).sum(dim=(0, 1))
    return costs + torch.diag(first)
