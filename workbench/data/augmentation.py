"""Conversion of uint8 images to network input, in batches, on the device of the images.

No function loops over images: one gather crops and flips a whole batch.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

import torch
from torch import Tensor


class Scale(Protocol):
    """An object with the image statistics of a ``catalog.Source``."""

    @property
    def mean(self) -> tuple[float, ...]: ...
    @property
    def std(self) -> tuple[float, ...]: ...
    @property
    def white(self) -> int: ...
    def __hash__(self) -> int: ...


def normalise(images: Tensor, source: Scale) -> Tensor:
    """Scale each channel to zero mean and unit spread.

    Args:
        images: uint8, shape (b, c, h, w).
        source: the data set whose statistics apply.

    Returns:
        float32, same shape, channels last in memory.
    """
    mean, std = _statistics(source, images.device)
    pixels = images.to(torch.float32, memory_format=torch.channels_last)
    return pixels.sub_(mean).div_(std)


def normalise_pixels(pixels: Tensor, source: Scale) -> Tensor:
    """``normalise`` for pixels that are numbers already; gradients reach them.

    Args:
        pixels: float32, shape (b, c, h, w), white at ``source.white``.
    """
    mean, std = _statistics(source, pixels.device)
    return pixels.sub(mean).div(std)


@cache
def _statistics(source: Scale, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and spread on the scale of the stored pixels.

    They stay on the device, because a copy in every step would make the host wait for it.
    """
    # The first caller may be in inference mode, and later ones may need gradients.
    with torch.inference_mode(False):
        mean, std = (torch.tensor(values, device=device) for values in (source.mean, source.std))
        return mean.view(1, -1, 1, 1) * source.white, std.view(1, -1, 1, 1) * source.white


def draw_views(count: int, padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Draw a random crop and flip for each of ``count`` images.

    Returns:
        int64, shape (count, 3), on the CPU: rows and columns to shift by, in [0, 2 padding],
        and whether to mirror. Without crop and flip every view is the image itself.
    """
    shift = torch.randint(0, 2 * padding + 1, (count, 2), generator=generator)
    mirror = torch.randint(0, 2, (count, 1), generator=generator) * int(flip)
    return torch.cat([shift, mirror], dim=1)


def apply_views(images: Tensor, views: Tensor, padding: int, *, reflect: bool = False) -> Tensor:
    """Crop and flip a batch.

    Args:
        images: uint8, shape (b, c, h, w).
        views: from ``draw_views``, shape (b, 3), on the images' device.
        padding: pixels around the image that the crop may reach into.
        reflect: this padding mirrors the image at its border pixels; otherwise it is zero.

    Returns:
        uint8, same shape.
    """
    height, width = images.shape[2:]
    row = torch.arange(height, device=images.device)
    column = torch.arange(width, device=images.device)
    columns = torch.where(views[:, 2:] > 0, width - 1 - column, column) + views[:, 1:2]
    rows = row + views[:, :1]
    image = torch.arange(len(images), device=images.device)
    if reflect:
        pixels = images.permute(0, 2, 3, 1)
        rows, columns = _mirrored(rows - padding, height), _mirrored(columns - padding, width)
    else:
        pixels = torch.nn.functional.pad(images, (padding,) * 4).permute(0, 2, 3, 1)
    return pixels[image[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _mirrored(places: Tensor, size: int) -> Tensor:
    """Mirror positions outside [0, size) at the first and the last one, without repeating these."""
    return (size - 1) - ((size - 1) - places.abs()).abs()
