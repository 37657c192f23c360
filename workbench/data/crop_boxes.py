"""Random resized crops: a random part of an image, of a random shape, scaled to one size.

The part is drawn in shares of the image, so a draw gives the same part for any image size, both
for files (``streamed_images``) and for decoded batches (``cut_batch``). The method is that of
Szegedy et al. (2015) with a larger minimum area, because small data sets have little content to
discard.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Smallest image size (pixels) that is trained with these crops; smaller images are shifted.
SMALLEST_SIZE = 64
_LEAST_AREA = 0.25
_NARROWEST = 3 / 4  # width over height; the widest is its inverse


def draw_boxes(count: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Draw a part for each of ``count`` images.

    Returns:
        float64, shape (count, 5), on the CPU: area in [0.25, 1], logarithm of width over
        height, positions in [0, 1) from the top and the left, and whether to mirror (0 or 1).
    """
    shares = torch.rand(count, 4, generator=generator, dtype=torch.float64)
    mirror = torch.randint(0, 2, (count, 1), generator=generator) * int(flip)
    area = _LEAST_AREA + (1 - _LEAST_AREA) * shares[:, :1]
    ratio = (2 * shares[:, 1:2] - 1) * -math.log(_NARROWEST)
    return torch.cat([area, ratio, shares[:, 2:], mirror.double()], dim=1)


def pixel_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """Convert parts to pixels, for images of one size.

    Args:
        boxes: from ``draw_boxes``, shape (b, 5).

    Returns:
        int64, shape (b, 4): top, left, height, width; always inside the image.
    """
    area, ratio = boxes[:, 0] * height * width, boxes[:, 1].exp()
    tall = (area / ratio).sqrt().round().clamp(1, height)
    wide = (area * ratio).sqrt().round().clamp(1, width)
    top = (boxes[:, 2] * (height - tall + 1)).floor()
    left = (boxes[:, 3] * (width - wide + 1)).floor()
    return torch.stack([top, left, tall, wide], dim=1).long()


def cut_batch(images: Tensor, boxes: Tensor) -> Tensor:
    """Cut and scale the parts of a decoded batch.

    Args:
        images: uint8, shape (b, c, h, w).
        boxes: from ``draw_boxes``, shape (b, 5), on the images' device.

    Returns:
        uint8, same shape. A part is never larger than the image, so no antialiasing is needed.
    """
    height, width = images.shape[2:]
    top, left, tall, wide = pixel_boxes(boxes, height, width).double().unbind(1)
    y = _places(top, tall, height)
    x = _places(left, wide, width)
    x = torch.where(boxes[:, 4:] > 0, x.flip(1), x)
    grid = torch.stack(
        [
            (2 * x[:, None, :] / width - 1).expand(-1, height, -1),
            (2 * y[:, :, None] / height - 1).expand(-1, -1, width),
        ],
        dim=3,
    )
    scaled = torch.nn.functional.grid_sample(
        images.float(), grid.float(), padding_mode="border", align_corners=False
    )
    return scaled.round_().to(torch.uint8)


def _places(start: Tensor, extent: Tensor, size: int) -> Tensor:
    """Positions of the scaled part's rows (or columns), in pixels from the image's edge."""
    steps = (torch.arange(size, device=start.device, dtype=start.dtype) + 0.5) / size
    places = start[:, None] + steps * extent[:, None]
    # Clamp to the part, so that pixels outside it do not contribute.
    return places.clamp((start + 0.5)[:, None], (start + extent - 0.5)[:, None])
