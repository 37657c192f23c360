"""Residual networks of the source paper: ResNet-56 with padded and ResNet-34 with projected
shortcuts.

He et al. (2016). In ResNet-56 (CIFAR) a shortcut is subsampled and padded with zero channels. The
stream has one width per stage, and each block can be narrowed independently: its output is
scattered back to the stream's width before the addition. In ResNet-34 a projection changes the
width, and all blocks of a stage share one list of filters (source paper, section 3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.models.channel_scatter import Scatter

SMALLEST_IMAGE = 8
#: From this size on, ResNet-34 has its ImageNet stem: 7x7, stride 2, then a pooling.
_IMAGENET_SIZE = 64


class _Padded(nn.Module):
    """Two 3x3 convolutions beside a shortcut that is only subsampled and padded."""

    def __init__(self, before: int, filters: int, stride: int) -> None:
        super().__init__()
        self.stride, self.missing = stride, filters - before
        self.conv1 = nn.Conv2d(before, filters, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.scatter = Scatter(filters)

    def forward(self, stream: Tensor) -> Tensor:
        branch = torch.relu(self.bn1(self.conv1(stream)))
        branch = self.scatter(self.bn2(self.conv2(branch)))
        if self.stride > 1:
            stream = stream[:, :, :: self.stride, :: self.stride]
        if self.missing:
            half = self.missing // 2
            padding = (0, 0, 0, 0, half, self.missing - half)
            stream = nn.functional.pad(stream, padding)
        return torch.relu(branch + stream)


class _Projected(nn.Module):
    """Two 3x3 convolutions beside an identity or a 1x1 projection."""

    def __init__(self, before: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, filters, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.projection = (
            nn.Identity()
            if before == filters and stride == 1
            else nn.Sequential(
                nn.Conv2d(before, filters, 1, stride, bias=False), nn.BatchNorm2d(filters)
            )
        )

    def forward(self, stream: Tensor) -> Tensor:
        branch = torch.relu(self.bn1(self.conv1(stream)))
        return torch.relu(self.bn2(self.conv2(branch)) + self.projection(stream))


class _ResNet(nn.Module):
    """A stem, stages of blocks, an average and a classifier."""

    def __init__(self, stem: nn.Module, stages: list[list[nn.Module]], last: int, classes: int):
        super().__init__()
        self.stem = stem
        self.stages = nn.Sequential(*(nn.Sequential(*blocks) for blocks in stages))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.stages(self.stem(images)))
        return logits


def build_resnet56(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Build ResNet-56 with padded shortcuts: 3 stages of 9 blocks, 16, 32 and 64 filters.

    It has 0.86 M parameters.

    Args:
        shape: channels, height, width of an image.
        classes: number of outputs.
    """
    stem = nn.Sequential(
        nn.Conv2d(shape[0], 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
    )
    stages: list[list[nn.Module]] = []
    before = 16
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        stages.append([_Padded(before, filters, stride)])
        stages[-1] += [_Padded(filters, filters, 1) for _ in range(8)]
        before = filters
    return _ResNet(stem, stages, before, classes)


def build_resnet34(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Build ResNet-34 with projections: stages of 3, 4, 6 and 3 blocks, 64 to 512 filters.

    It has 21.3 M parameters.

    Args:
        shape: channels, height, width of an image; from 64x64 on, the stem is the one for ImageNet.
        classes: number of outputs.
    """
    large = min(shape[1:]) >= _IMAGENET_SIZE
    first = nn.Conv2d(shape[0], 64, 7, 2, 3, bias=False) if large else (
        nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
    )  # fmt: skip
    parts = [first, nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    stem = nn.Sequential(*parts, *([nn.MaxPool2d(3, 2, padding=1)] if large else []))
    stages: list[list[nn.Module]] = []
    before = 64
    for filters, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        stages.append([_Projected(before, filters, stride)])
        stages[-1] += [_Projected(filters, filters, 1) for _ in range(blocks - 1)]
        before = filters
    return _ResNet(stem, stages, before, classes)
