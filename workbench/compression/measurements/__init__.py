"""The table of measurements, which recipes and selections read beside responses and weights.

Each measurement is one pass over the target's images, or reads weights only. It is made only if the
recipe or the selection reads it (``method_names.READS``). A new measurement needs one file here and
its line in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from workbench.compression.evidence.evidence import Array
from workbench.compression.groups.structure import FilterGroup
from workbench.compression.measurements import (
    kernel_indicator,
    loss_change,
    map_rank,
    pair_loss,
    zeros,
)
from workbench.data.catalog import Source
from workbench.data.image_batches import ImageSet

#: Returns an array by filter group, from the arguments of ``responses.measure_responses``.
Measurement = Callable[
    [nn.Module, Sequence[FilterGroup], ImageSet, Source, torch.device], Mapping[str, Array]
]

MEASUREMENTS: dict[str, Measurement] = {
    "zeros": zeros.measure,
    "loss_change": loss_change.measure,
    "map_rank": map_rank.measure,
    "pair_loss": pair_loss.measure,
    "kernel_indicator": kernel_indicator.measure,
}
