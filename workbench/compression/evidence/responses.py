"""Measure the responses of every analysed layer in one pass over the target's images.

The response of a convolution is its output before batch norm and activation, max-pooled over the
image. The response of a fully connected layer is its output, max-pooled over tokens if there are
any. Layers that are coupled by additions have one response, after the last addition. A pointwise
convolution and the depthwise convolution after it have the depthwise output as response (source
paper, section 3). Responses are computed in fp32 with TF32 off, whatever precision the training
uses, so that a recipe does not depend on the processor.

Memory: one batch of responses and one covariance per layer, independent of the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from workbench.compression.groups.forward_path import Additions
from workbench.compression.groups.structure import FilterGroup, ResponsePoint
from workbench.data.augmentation import normalise
from workbench.data.catalog import Source
from workbench.data.image_batches import ImageSet, batches
from workbench.errors import NetworkError
from workbench.models.networks import place
from workbench.models.processor import exact_fp32
from workbench.pfa import StreamingCovariance

BATCH_SIZE = 256
#: Images, uint8, and their labels.
Batches = Iterable[tuple[Tensor, Tensor]]


def measure_responses(
    model: nn.Module,
    groups: Sequence[FilterGroup],
    images: ImageSet,
    source: Source,
    device: torch.device,
    on_batch: Callable[[int], None] = lambda seen: None,
) -> dict[str, StreamingCovariance]:
    """Measure mean and covariance of the responses, by the name of the filter group.

    Args:
        model: the network that was trained on the source; it is set to evaluation mode.
        groups: the network's filter groups (``compression.groups.structure``).
        images: the target's training images.
        source: the data set of these images.
        device: device of the computation.
        on_batch: called after each batch with the number of images seen.

    Raises:
        NetworkError: when a layer's responses hold NaN or infinity, or a layer does not run.
    """
    place(model, device).eval()
    moments = {group.name: StreamingCovariance(group.filters) for group in groups}

    def collect(group: FilterGroup, output: Tensor) -> None:
        try:
            moments[group.name].merge(batch_moments(_pool(group, model, output)))
        except ValueError as error:
            raise NetworkError(f"layer '{group.name}': {error}; check the weights") from None

    points = [(group, group.response) for group in groups]
    observe(model, points, batches(images, BATCH_SIZE, device), source, collect, on_batch)
    silent = [name for name, found in moments.items() if found.count != len(images)]
    if silent:
        raise NetworkError(f"layer '{silent[0]}' does not run exactly once in a forward pass")
    return moments


def observe(
    model: nn.Module,
    points: Sequence[tuple[FilterGroup, ResponsePoint]],
    images: Batches,
    source: Source,
    collect: Callable[[FilterGroup, Tensor], None],
    on_batch: Callable[[int], None] = lambda seen: None,
) -> None:
    """Run the network on images in fp32 and pass the outputs at some points to ``collect``."""
    at_sum = {point.addition: group for group, point in points if point.addition is not None}

    def watch(group: FilterGroup, point: ResponsePoint) -> RemovableHandle:
        layer = model.get_submodule(str(point.layer))
        if point.of_input:
            return layer.register_forward_pre_hook(lambda _module, args: collect(group, args[0]))
        return layer.register_forward_hook(lambda _module, _args, output: collect(group, output))

    def on_sum(number: int, output: Tensor) -> None:
        if number in at_sum:
            collect(at_sum[number], output)

    handles = [watch(group, point) for group, point in points if point.layer is not None]
    try:
        seen = 0
        for pixels, labels in images:
            watching = Additions(on_sum) if at_sum else nullcontext()
            with torch.inference_mode(), exact_fp32(pixels.device.type), watching:
                model(normalise(pixels, source))
            seen += len(labels)
            on_batch(seen)
    finally:
        for handle in handles:
            handle.remove()


def filters_of(
    group: FilterGroup, model: nn.Module, output: Tensor
) -> tuple[Tensor, tuple[int, ...]]:
    """The group's filters in an output, and the dimensions of positions (or tokens).

    A filter of several channels is represented by their Euclidean norm.
    """
    is_last = group.response.channels_last
    if group.response.layer is not None:
        is_last = isinstance(model.get_submodule(group.name), nn.Linear)
    channel = output.ndim - 1 if is_last else 1
    if group.response.channels != tuple(range(output.shape[channel])):
        index = torch.tensor(group.response.channels, device=output.device)
        output = output.index_select(channel, index)
    if len(group.response.channels) > group.filters:
        before, after = output.shape[:channel], output.shape[channel + 1 :]
        parts = output.reshape(*before, group.filters, -1, *after)
        output = torch.linalg.vector_norm(parts, dim=channel + 1)
    return output, tuple(dim for dim in range(1, output.ndim) if dim != channel)


def _pool(group: FilterGroup, model: nn.Module, output: Tensor) -> Tensor:
    """Maximum over positions (or tokens): shape (b, filters)."""
    output, places = filters_of(group, model, output)
    return output.amax(dim=places) if places else output


def batch_moments(response: Tensor) -> StreamingCovariance:
    """Moments of one batch, computed in float64 on the device of the response."""
    rows = response.double()
    mean = rows.mean(dim=0)
    centred = rows - mean
    products = centred.T @ centred
    return StreamingCovariance.from_moments(len(rows), mean.cpu().numpy(), products.cpu().numpy())
