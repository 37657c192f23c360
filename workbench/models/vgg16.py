"""VGG-16 for CIFAR-size images, and fully convolutional for ImageNet.

Simonyan and Zisserman (2015), with batch norm after every convolution, as in the source paper
(appendix C). For CIFAR the classifier is reduced to one hidden layer of 512 (15.0 M parameters);
for ImageNet the two hidden layers of 4,096 are convolutions (138 M parameters).
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

#: Filters of the 13 convolutions.
_FILTERS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
_HIDDEN = 512
_CONVOLUTIONAL_HIDDEN = 4096
_POOL_AFTER = frozenset({2, 4, 7, 10, 13})
_SHRINK = 2 ** len(_POOL_AFTER)
#: Each of the five poolings halves the image; a smaller image would shrink to nothing.
SMALLEST_IMAGE = _SHRINK
#: The first hidden layer of the convolutional network covers 7x7 positions.
SMALLEST_CONVOLUTIONAL_IMAGE = 7 * _SHRINK


def build(shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Build the network for small images.

    Args:
        shape: channels, height, width of an image.
        classes: number of outputs.
    """
    inputs = _FILTERS[-1] * (shape[1] // _SHRINK) * (shape[2] // _SHRINK)
    classifier = nn.Sequential(
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(inputs, _HIDDEN, bias=False),
        nn.BatchNorm1d(_HIDDEN),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(_HIDDEN, classes),
    )
    return nn.Sequential(OrderedDict(features=_features(shape[0]), classifier=classifier))


def build_convolutional(shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Build the fully convolutional network for ImageNet-size images.

    Args:
        shape: channels, height, width of an image, at least 224 high and wide.
        classes: number of outputs.
    """
    layers: list[nn.Module] = []
    channels = _FILTERS[-1]
    for size in (7, 1):
        layers += [
            nn.Conv2d(channels, _CONVOLUTIONAL_HIDDEN, size, bias=False),
            nn.BatchNorm2d(_CONVOLUTIONAL_HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
        ]
        channels = _CONVOLUTIONAL_HIDDEN
    layers += [nn.Conv2d(channels, classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(
        OrderedDict(features=_features(shape[0]), classifier=nn.Sequential(*layers))
    )


def _features(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number, width in enumerate(_FILTERS, start=1):
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        channels = width
        if number in _POOL_AFTER:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)
