"""VGG-16 for CIFAR-size images: 13 convolutions and one hidden layer of 512.

Simonyan and Zisserman (2015), with batch norm after every convolution and the classifier cut
to one hidden layer, as the source paper trains it (its appendix C). 15.0 M parameters.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

#: Filters of the 13 convolutions and the hidden layer.
WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512, 512)
#: Five poolings halve the image: below this size nothing would be left of it.
SMALLEST_IMAGE = 32
_POOL_AFTER = frozenset({2, 4, 7, 10, 13})


def build(
    shape: tuple[int, int, int], classes: int, widths: Sequence[int] = WIDTHS
) -> nn.Sequential:
    """The network with ``widths`` filters.

    Args:
        shape: channels, height, width of an image.
        classes: number of outputs.
        widths: filters of the 14 analysed layers, in order.
    """
    *convolutions, hidden = widths
    layers: list[nn.Module] = []
    channels = shape[0]
    for number, width in enumerate(convolutions, start=1):
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        channels = width
        if number in _POOL_AFTER:
            layers.append(nn.MaxPool2d(2))
    shrink = 2 ** len(_POOL_AFTER)
    classifier = nn.Sequential(
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(channels * (shape[1] // shrink) * (shape[2] // shrink), hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(hidden, classes),
    )
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), classifier=classifier))
