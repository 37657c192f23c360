"""SimpleCNN: the nine-convolution network of the source paper's ablation (its appendix C).

The paper does not give the strides; they are those of All-CNN-C (Springenberg et al., 2015). The
last convolution has one filter per class and is averaged over the image.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

#: Filters of the eight convolutions before the classifier.
_FILTERS = (96, 96, 96, 192, 192, 192, 192, 192)
SMALLEST_IMAGE = 4
_STRIDE_2 = frozenset({3, 6})
_POINTWISE = frozenset({8, 9})


def build(shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Build the network.

    Args:
        shape: channels, height, width of an image.
        classes: number of outputs.
    """
    layers: list[nn.Module] = []
    channels = shape[0]
    for number, width in enumerate((*_FILTERS, classes), start=1):
        size = 1 if number in _POINTWISE else 3
        stride = 2 if number in _STRIDE_2 else 1
        layers += [
            nn.Conv2d(channels, width, size, stride, padding=size // 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        channels = width
        if number in _STRIDE_2:
            layers.append(nn.Dropout(0.5))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), head=head))
