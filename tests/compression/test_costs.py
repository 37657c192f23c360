"""Costs against closed forms."""

import torch
from torch import nn

from workbench.compression.costs.costs import count_costs, measure_latencies


def test_parameters_and_flops_of_a_network_counted_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Flatten())
    model.append(nn.Linear(8 * 4 * 4, 10))
    costs = count_costs(model, (3, 4, 4))
    assert costs.parameters == (3 * 9 * 8 + 8) + 16 + (128 * 10 + 10)
    assert costs.flops == 2 * (3 * 9 * 8 * 16) + 2 * (128 * 10)


def test_frozen_weights_do_not_count():
    model = nn.Linear(4, 2)
    model.bias.requires_grad = False
    assert count_costs(nn.Sequential(nn.Flatten(), model), (1, 2, 2)).parameters == 8


def test_counting_leaves_the_network_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count_costs(model, (1, 3, 3))
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_network_with_more_work_takes_longer():
    small, large = nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(3, 128, 3), nn.Conv2d(128, 128, 3))
    fast, slow = measure_latencies([small, large], (3, 64, 64), torch.device("cpu"), rounds=5)
    assert 0 < fast < slow


def test_a_large_batch_takes_longer_than_one_image():
    model, cpu = nn.Conv2d(3, 64, 3), torch.device("cpu")
    (one,), (many,) = (
        measure_latencies([model], (3, 64, 64), cpu, batch_size=size, rounds=5) for size in (1, 64)
    )
    assert one < many
