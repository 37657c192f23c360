"""Dropout rates of compressed networks against the formula of their paper."""

import copy
import math

import pytest
import torch
from torch import nn

from workbench.compression.groups.rebuild import rebuild
from workbench.compression.groups.tracing import find_structure
from workbench.compression.narrow_networks import build_narrow
from workbench.models.networks import build_network
from workbench.training.scaled_dropout import connections, has_dropout, scale_dropouts

SHAPE = (3, 32, 32)


def rates(network):
    return [part.p for part in network.modules() if isinstance(part, nn.Dropout)]


@pytest.fixture(scope="module")
def vgg():
    return build_network("vgg16", SHAPE, 5)


def test_rates_of_vgg_follow_the_connections_before_them(vgg):
    structure = find_structure(vgg, SHAPE)
    kept = dict.fromkeys(range(len(structure.groups)), 16)
    kept |= {11: 64, 12: 128, 13: 32}  # the last two convolutions and the hidden layer
    small = rebuild(vgg, structure.first(list(kept.values())), structure)
    scale_dropouts(small, vgg, SHAPE)
    wanted = [0.5 * math.sqrt(128 * 64 / 512**2), 0.5 * math.sqrt(32 * 128 / 512**2)]
    assert rates(small) == pytest.approx(wanted)


def test_nothing_removed_changes_no_rate(vgg):
    same = copy.deepcopy(vgg)
    scale_dropouts(same, vgg, SHAPE)
    assert rates(same) == [0.5, 0.5]
    assert rates(vgg) == [0.5, 0.5]


@pytest.mark.parametrize("share", [2, 4])
def test_an_even_reduction_scales_the_rates_by_the_width(share):
    widths = [filters // share for filters in (96, 96, 96, 192, 192, 192, 192, 192)]
    full, small = (build_narrow("simplecnn", (1, 8, 8), 4, each) for each in ((), widths))
    scale_dropouts(small, full, (1, 8, 8))
    assert rates(small) == pytest.approx([0.5 / share] * 2)


def test_probing_leaves_the_network_as_it_was(vgg):
    before = copy.deepcopy(vgg.state_dict())
    vgg.train()
    state = torch.random.get_rng_state()
    connections(vgg, SHAPE)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert vgg.training
    assert all(torch.equal(value, vgg.state_dict()[name]) for name, value in before.items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in vgg.modules())


def test_dropouts_without_effect_or_without_a_layer_are_left_out():
    model = nn.Sequential(
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 8), nn.Dropout(0.0), nn.Dropout(0.2)
    )
    assert connections(model, (1, 8, 8)) == {"4": 512}
    assert has_dropout(model)
    assert not has_dropout(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)))
