"""Responses of every analysed layer in one pass over the target's images.

A convolution's response is its own output before batch norm and activation, max-pooled over
the image; a fully connected layer's is its own output (source paper, section 3). Responses are
fp32 with TF32 off whatever the training uses, so that a recipe does not depend on the processor.

Memory: one batch of responses and one covariance a layer, whatever the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from workbench.catalog import Source
from workbench.data.augmentation import normalise
from workbench.data.sets import Images
from workbench.errors import NetworkError
from workbench.models.networks import place
from workbench.pfa import StreamingCovariance
from workbench.processor import exact_fp32

BATCH_SIZE = 256


def measure_responses(
    model: nn.Module,
    layers: Mapping[str, nn.Conv2d | nn.Linear],
    images: Images,
    source: Source,
    device: torch.device,
    on_batch: Callable[[int], None] = lambda seen: None,
) -> dict[str, StreamingCovariance]:
    """Mean and covariance of the responses, by layer.

    Args:
        model: the network that was trained on the source; it is put into evaluation mode.
        layers: the analysed layers by name.
        images: the target's training images.
        source: the data set that they come from.
        device: where to compute.
        on_batch: called after each batch with the number of images seen.

    Raises:
        NetworkError: when a layer's responses hold NaN or infinity, or a layer does not run.
    """
    place(model, device).eval()
    moments = {name: StreamingCovariance(len(layer.weight)) for name, layer in layers.items()}
    current = ""

    def collect(name: str) -> None:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            nonlocal current
            current = name
            response = output.amax(dim=(2, 3)) if output.ndim == 4 else output
            moments[name].merge(_batch_moments(response))

        handles.append(layers[name].register_forward_hook(hook))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    try:
        for name in layers:
            collect(name)
        with torch.inference_mode(), exact_fp32(device.type):
            for start in range(0, len(images), BATCH_SIZE):
                pixels = torch.from_numpy(images.pixels[start : start + BATCH_SIZE]).to(device)
                model(normalise(pixels, source))
                on_batch(min(start + BATCH_SIZE, len(images)))
    except ValueError as error:
        raise NetworkError(f"layer '{current}': {error}; check the weights") from None
    finally:
        for handle in handles:
            handle.remove()
    silent = [name for name, seen in moments.items() if seen.count != len(images)]
    if silent:
        raise NetworkError(f"layer '{silent[0]}' does not run exactly once in a forward pass")
    return moments


def _batch_moments(response: Tensor) -> StreamingCovariance:
    """One batch's moments, in float64 on the response's own device."""
    rows = response.double()
    mean = rows.mean(dim=0)
    centred = rows - mean
    products = centred.T @ centred
    return StreamingCovariance.from_moments(len(rows), mean.cpu().numpy(), products.cpu().numpy())
