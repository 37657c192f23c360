"""Mean and covariance of the outputs of layers, over all images and all positions.

PFA pools each filter's output over an image by its maximum; a layer that is replaced must reproduce
its output at every position. So these moments are kept apart from the responses. Outputs are those
before batch norm and activation, in fp32 with TF32 off.

Memory: one batch of outputs, a part of it in float64, and one covariance for each layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from workbench.compression.evidence.responses import BATCH_SIZE, batch_moments, observe
from workbench.compression.groups.structure import FilterGroup
from workbench.data.catalog import Source
from workbench.data.image_batches import ImageSet, batches
from workbench.errors import NetworkError
from workbench.models.networks import place
from workbench.pfa import StreamingCovariance

_MOST_VALUES = 1 << 24  # of a layer's outputs, in float64 at a time


def measure_output_moments(
    model: nn.Module,
    layers: Sequence[FilterGroup],
    images: ImageSet,
    source: Source,
    device: torch.device,
    on_batch: Callable[[int], None] = lambda seen: None,
) -> dict[str, StreamingCovariance]:
    """Measure mean and covariance of the outputs, by layer.

    Args:
        layers: each layer as a filter group of its own (``factor_candidates.layer_structure``).
        model, images, source, device, on_batch: as for ``responses.measure_responses``.

    Raises:
        NetworkError: when a layer's outputs hold NaN or infinity.
    """
    place(model, device).eval()
    moments = {layer.name: StreamingCovariance(layer.filters) for layer in layers}
    linear = {
        layer.name: isinstance(model.get_submodule(layer.name), nn.Linear) for layer in layers
    }

    def collect(layer: FilterGroup, output: Tensor) -> None:
        last = output if linear[layer.name] else output.movedim(1, -1)
        rows = last.reshape(-1, layer.filters)
        parts = torch.split(rows, max(1, _MOST_VALUES // layer.filters))
        try:
            for part in parts:
                moments[layer.name].merge(batch_moments(part))
        except ValueError as error:
            raise NetworkError(f"layer '{layer.name}': {error}; check the weights") from None

    points = [(layer, layer.response) for layer in layers]
    observe(model, points, batches(images, BATCH_SIZE, device), source, collect, on_batch)
    return moments
