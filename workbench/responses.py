"""Responses of every analysed layer in one pass over the target's images.

A convolution's response is its own output before batch norm and activation, max-pooled over
the image; a fully connected layer's is its own output, max-pooled over tokens where there are
any. Layers that are coupled by additions have one response, after the last addition; a
pointwise convolution and the depthwise one behind it have the depthwise output (source paper,
section 3). Responses are
fp32 with TF32 off whatever the training uses, so that a recipe does not depend on the processor.

Memory: one batch of responses and one covariance a layer, whatever the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from workbench.catalog import Source
from workbench.compression.paths import Additions
from workbench.compression.structure import FilterGroup
from workbench.data.augmentation import normalise
from workbench.data.feeds import ImageSet, batches
from workbench.errors import NetworkError
from workbench.models.networks import place
from workbench.pfa import StreamingCovariance
from workbench.processor import exact_fp32

BATCH_SIZE = 256


def measure_responses(
    model: nn.Module,
    groups: Sequence[FilterGroup],
    images: ImageSet,
    source: Source,
    device: torch.device,
    on_batch: Callable[[int], None] = lambda seen: None,
) -> dict[str, StreamingCovariance]:
    """Mean and covariance of the responses, by the name of the filter group.

    Args:
        model: the network that was trained on the source; it is put into evaluation mode.
        groups: the network's filter groups (``compression.structure``).
        images: the target's training images.
        source: the data set that they come from.
        device: where to compute.
        on_batch: called after each batch with the number of images seen.

    Raises:
        NetworkError: when a layer's responses hold NaN or infinity, or a layer does not run.
    """
    place(model, device).eval()
    moments = {group.name: StreamingCovariance(group.filters) for group in groups}
    at_sum = {g.response.addition: g for g in groups if g.response.addition is not None}
    current = ""

    def collect(group: FilterGroup, output: Tensor) -> None:
        nonlocal current
        current = group.name
        moments[group.name].merge(_batch_moments(_pool(group, model, output)))

    def hook_of(group: FilterGroup) -> Callable[..., None]:
        return lambda _module, _inputs, output: collect(group, output)

    def on_sum(number: int, output: Tensor) -> None:
        if number in at_sum:
            collect(at_sum[number], output)

    handles = [
        model.get_submodule(group.response.layer).register_forward_hook(hook_of(group))
        for group in groups
        if group.response.layer is not None
    ]
    try:
        with torch.inference_mode(), exact_fp32(device.type):
            seen = 0
            for pixels, labels in batches(images, BATCH_SIZE, device):
                with Additions(on_sum) if at_sum else nullcontext():
                    model(normalise(pixels, source))
                seen += len(labels)
                on_batch(seen)
    except ValueError as error:
        raise NetworkError(f"layer '{current}': {error}; check the weights") from None
    finally:
        for handle in handles:
            handle.remove()
    silent = [name for name, found in moments.items() if found.count != len(images)]
    if silent:
        raise NetworkError(f"layer '{silent[0]}' does not run exactly once in a forward pass")
    return moments


def _pool(group: FilterGroup, model: nn.Module, output: Tensor) -> Tensor:
    """Maximum over places (or tokens): shape (b, filters)."""
    linear = isinstance(model.get_submodule(group.name), nn.Linear)
    channel = output.ndim - 1 if linear else 1
    places = [dim for dim in range(1, output.ndim) if dim != channel]
    response = output.amax(dim=places) if places else output
    if group.response.channels == tuple(range(response.shape[1])):
        return response
    return response[:, list(group.response.channels)]


def _batch_moments(response: Tensor) -> StreamingCovariance:
    """One batch's moments, in float64 on the response's own device."""
    rows = response.double()
    mean = rows.mean(dim=0)
    centred = rows - mean
    products = centred.T @ centred
    return StreamingCovariance.from_moments(len(rows), mean.cpu().numpy(), products.cpu().numpy())
