"""Norms of kept channels are those of the full width in which the removed channels are zero."""

import pytest
import torch
from torch import nn

from workbench.compression.groups.rebuild import rebuild
from workbench.compression.groups.tracing import find_structure
from workbench.compression.groups.watched_layers import watching
from workbench.models.kept_norms import KeptLayerNorm, KeptResponseNorm, can_keep, kept_norm


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def drawn(norm):
    """A norm with random scales and offsets, in float64."""
    for number, value in enumerate(norm.parameters()):
        value.data = random(*value.shape) + number
    return norm.double()


class LayerNorm2d(nn.LayerNorm):
    """As in timm and torchvision: over the channels of images."""

    def forward(self, values):
        return super().forward(values.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GlobalResponseNorm(nn.Module):
    """Woo et al. (2023), algorithm 1, with names as in timm."""

    def __init__(self, width, channel_dim):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))
        self.eps, self.channel_dim = 1e-6, channel_dim

    def forward(self, values):
        values = values.movedim(self.channel_dim, -1)
        norms = values.square().sum(dim=(1, 2), keepdim=True).sqrt()
        shares = norms / (norms.mean(dim=-1, keepdim=True) + self.eps)
        found = self.weight * (values * shares) + self.bias + values
        return found.movedim(-1, self.channel_dim)


@pytest.mark.parametrize(
    ("norm", "dim"),
    [
        (nn.LayerNorm(6), -1),
        (nn.LayerNorm(6, eps=0.1, elementwise_affine=False), -1),
        (LayerNorm2d(6), 1),
        (GlobalResponseNorm(6, -1), -1),
        (GlobalResponseNorm(6, 1), 1),
    ],
)
@pytest.mark.parametrize("kept", [(0, 1, 2, 3, 4, 5), (1, 4), (3,)])
def test_removed_channels_count_as_zeros(norm, dim, kept):
    norm, index = drawn(norm), torch.tensor(kept)
    values = random(2, 6, 5, 6) if dim == -1 else random(2, 6, 5, 4)
    gone = torch.tensor([channel for channel in range(6) if channel not in kept], dtype=torch.int64)
    wanted = norm(values.index_fill(dim, gone, 0)).index_select(dim, index)
    ours = kept_norm(norm)
    assert can_keep(norm)
    assert isinstance(ours, (KeptLayerNorm, KeptResponseNorm))
    if ours.weight is not None:
        ours.weight, ours.bias = (nn.Parameter(v.data[index]) for v in (ours.weight, ours.bias))
    found = ours(values.index_select(dim, index))
    assert torch.allclose(found, wanted, rtol=0, atol=1e-12)
    assert ours.width == 6


def test_channels_can_be_removed_again():
    """As in the steps of iterative PFA: the width stays that of the first network."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), LayerNorm2d(8), nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    model = drawn(model)
    structure = find_structure(model, (3, 8, 8))
    assert [(g.name, g.kind) for g in structure.groups] == [("0", "embedding"), ("2", "filters")]
    once = rebuild(model, {"0": [0, 1, 2, 5, 6, 7]}, structure)
    again = find_structure(once, (3, 8, 8))
    assert next((g.name, g.filters, g.kind) for g in again.groups) == ("0", 6, "embedding")
    twice = rebuild(once, {"0": [1, 3]}, again)
    directly = rebuild(model, {"0": [1, 5]}, structure)
    images = random(2, 3, 8, 8)
    assert torch.allclose(twice(images), directly(images), rtol=0, atol=1e-12)
    assert twice[1].width == 8
    assert not isinstance(rebuild(model, {"2": [0]}, structure)[1], KeptLayerNorm)


def test_a_watched_network_stays_watched():
    layers = nn.Conv2d(3, 8, 1), LayerNorm2d(8), nn.Conv2d(8, 2, 1)
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    structure = find_structure(model, (3, 8, 8))
    with watching(model, structure.path):
        smaller = rebuild(model, {"0": [1, 5]}, structure)
        assert isinstance(smaller[1], KeptLayerNorm)
        assert not smaller[1].training
        smaller(torch.zeros(1, 3, 8, 8))  # the norm runs where the path expects it


def test_norms_over_several_dimensions_or_groups_stay():
    assert not can_keep(nn.LayerNorm((4, 4)))
    assert not can_keep(nn.GroupNorm(2, 4))


def test_statistics_are_computed_in_float32():
    norm = kept_norm(nn.LayerNorm(4))
    values = random(3, 4).to(torch.bfloat16)
    assert norm(values).dtype is torch.float32
    assert torch.allclose(norm(values), nn.LayerNorm(4)(values.float()), atol=1e-5)
