"""Masks: exact shares, the smallest weights, bit-identical rewinding, and the stages' files."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from workbench.compression.narrow_networks import build_narrow
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import load_images
from workbench.deployment.masks import supermask as supermasks
from workbench.deployment.masks.lottery import make_lottery, masked_shares, ticket
from workbench.deployment.masks.magnitude_masks import (
    fix_masks,
    masks_of,
    put_masks,
    remove_smallest,
    removed_count,
)
from workbench.deployment.masks.sparse import gradual_sparsity, make_sparse
from workbench.deployment.masks.supermask import make_supermask, put_scores
from workbench.deployment.quantisation.packed_weights import coded_layers, load_packed, read_packed
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_types import Rewind, TrainedNetwork
from workbench.errors import TrainingError
from workbench.models.networks import place
from workbench.models.weight_files import Card

WIDTHS = (6, 6, 6, 8, 8, 8, 8, 8)
CARD = Card.of("simplecnn", SOURCES["digits"], ("3", "8"), WIDTHS)


def network(seed=1):
    return build_narrow("simplecnn", (1, 8, 8), 2, WIDTHS, seed=seed).eval()


def weights_of(model):
    return torch.cat([layer.weight.detach().reshape(-1) for layer in coded_layers(model).values()])


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def digits():
    return load_images("digits", "train", None).of_classes(("3", "8"), "digits")


@pytest.fixture
def trained(digits):
    """A network that "trained" from other weights; training it again adds 1 to its biases."""

    def add_one(model):
        place(model, torch.device("cpu")).train()  # channels last, as the training loop leaves it
        for name, value in model.named_parameters():
            if name.endswith("bias"):
                value.data += 1

    return TrainedNetwork(network(), CARD, digits, Rewind(lambda: network(2), add_one))


@pytest.mark.parametrize("sparsity", [0, 1e-6, 0.31, 0.5, 0.9, 0.99, 0.9999])
def test_exactly_the_smallest_weights_are_removed(sparsity):
    model = network()
    before = weights_of(model)
    remove_smallest(model, sparsity)
    fix_masks(model)
    after = weights_of(model)
    count = removed_count(len(before), sparsity)
    assert (after == 0).sum() == count
    assert abs(count - sparsity * len(before)) <= 0.5
    order = before.abs().argsort()  # slow transcription: sort all magnitudes together
    wanted = before.clone()
    wanted[order[:count]] = 0
    assert torch.equal(after, wanted)


def test_without_sparsity_nothing_changes():
    model = network()
    remove_smallest(model, 0)
    assert same(model.state_dict(), network().state_dict())


def test_removed_weights_stay_removed_and_the_layout_does_not_matter():
    model = network()
    remove_smallest(model, 0.5)
    first = masks_of(model)
    place(model, torch.device("cpu"))
    for parameter in model.parameters():
        parameter.data += 1  # weights behind the mask grow, too
    remove_smallest(model, 0.7)
    second = masks_of(model)
    assert all((second[name] <= first[name]).all() for name in first)
    weights = len(weights_of(network()))
    assert sum(mask.sum() for mask in second.values()) == weights - removed_count(weights, 0.7)
    fix_masks(model)
    assert model.state_dict().keys() == network().state_dict().keys()


def test_a_layer_with_two_names_counts_once():
    shared = nn.Linear(10, 10)
    model = nn.ModuleDict({"one": shared, "two": shared})
    remove_smallest(model, 0.5)
    fix_masks(model)
    assert (shared.weight == 0).sum() == 50


def test_the_ramp_of_the_sparsity():
    shares = [gradual_sparsity(step, 90, 0.8) for step in range(90)]
    renewed = {step: share for step, share in enumerate(shares) if share is not None}
    assert (renewed[0], renewed[60]) == (0, 0.8)
    assert max(renewed) == 60
    assert list(renewed.values()) == sorted(renewed.values())
    assert 19 <= len(renewed) <= 22
    for step, share in renewed.items():
        assert share == pytest.approx(0.8 + (0 - 0.8) * (1 - step / 60) ** 3)
    assert gradual_sparsity(0, 1, 0.8) == 0


def test_a_sparse_file_has_exactly_its_share_and_is_deterministic(trained, tmp_path):
    before = copy.deepcopy(trained.network.state_dict())
    settings = DeploymentSettings(mask_sparsity=0.8, mask_epochs=1)
    for name in ("a", "b"):
        torch.manual_seed(ord(name))
        state = torch.get_rng_state()
        report = make_sparse(trained, settings, tmp_path / f"{name}.packed")
        assert torch.equal(torch.get_rng_state(), state)
    assert same(trained.network.state_dict(), before)
    assert same(read_packed(tmp_path / "a.packed"), read_packed(tmp_path / "b.packed"))
    found = weights_of(load_packed(tmp_path / "a.packed"))
    assert (found == 0).sum() == removed_count(len(found), 0.8)
    details = report.details
    size = (tmp_path / "a.packed").stat().st_size
    assert details["bytes"] == size < details["float32_bytes"]
    assert details["sparsity"] == pytest.approx(0.8, abs=1 / len(found))
    assert sum(layer["kept"] for layer in details["layers"]) == (found != 0).sum()
    assert len(details["losses"]) == 1


@pytest.mark.parametrize("make", [make_sparse, make_lottery])
def test_sparsity_0_writes_the_network_as_it_is(trained, tmp_path, make):
    make(trained, DeploymentSettings(mask_sparsity=0), tmp_path / "a.packed")
    assert same(read_packed(tmp_path / "a.packed"), trained.network.state_dict())


def test_the_shares_of_the_rounds():
    shares = masked_shares(0.9, 4)
    kept = [1 - share for share in (0, *shares)]
    ratios = [after / before for before, after in itertools.pairwise(kept)]
    assert ratios == pytest.approx([0.1**0.25] * 4)
    assert shares[-1] == 0.9
    assert masked_shares(0.5, 1) == [0.5]


def test_a_ticket_has_the_starting_weights_bit_by_bit(trained):
    remove_smallest(trained.network, 0.6)
    masks, start = masks_of(trained.network), network(2).state_dict()
    found = ticket(trained.rewind, masks)
    for name, value in found.state_dict().items():
        if not name.endswith("_mask"):
            assert torch.equal(value, start[name.removesuffix("_orig")]), name
    fix_masks(found)
    for name, mask in masks.items():
        kept = mask == 1
        assert torch.equal(
            found.get_submodule(name).weight[kept].view(torch.int32),
            start[f"{name}.weight"][kept].view(torch.int32),
        )
        assert (found.get_submodule(name).weight[~kept] == 0).all()


def test_lottery_rewinds_in_every_round(trained, tmp_path):
    """The stand-in for a training changes biases only: once, because each round starts anew."""
    report = make_lottery(
        trained, DeploymentSettings(mask_sparsity=0.7, lottery_rounds=3), tmp_path / "a.packed"
    )
    state, start = read_packed(tmp_path / "a.packed"), network(2).state_dict()
    found = weights_of(load_packed(tmp_path / "a.packed"))
    assert (found == 0).sum() == removed_count(len(found), 0.7)
    for name, value in state.items():
        if name.endswith("bias"):
            assert torch.equal(value, start[name] + 1)
        elif value.ndim > 1:
            assert torch.equal(value[value != 0], start[name][value != 0])
    assert report.details["rounds"] == 3
    # The first round's mask is that of the trained network, not of the start.
    first = network(1)
    remove_smallest(first, masked_shares(0.7, 3)[0])
    put_masks(other := network(2), masks_of(first))
    remove_smallest(other, 0.7)
    fix_masks(other)
    assert (weights_of(other) == 0).sum() == (found == 0).sum()
    removed_first = torch.cat([mask.reshape(-1) for mask in masks_of(first).values()]) == 0
    assert (found[removed_first] == 0).all()


def test_a_supermask_chooses_among_the_starting_weights(trained, tmp_path):
    settings = DeploymentSettings(mask_sparsity=0.75, mask_epochs=2)
    report = make_supermask(trained, settings, tmp_path / "a.packed")
    make_supermask(trained, settings, tmp_path / "b.packed")
    assert same(read_packed(tmp_path / "a.packed"), read_packed(tmp_path / "b.packed"))
    state, start = read_packed(tmp_path / "a.packed"), network(2).state_dict()
    moved = 0
    for name, value in state.items():
        if value.ndim > 1:
            kept = value != 0
            assert kept.sum() == round(0.25 * value.numel())
            assert torch.equal(value[kept], start[name][kept])
            largest = start[name].abs() >= start[name].abs().reshape(-1).topk(kept.sum()).values[-1]
            moved += int((kept != largest).sum())
        elif "running" not in name and "num_batches" not in name:
            assert torch.equal(value, start[name]), name
    assert moved > 0  # the scores were trained
    assert report.details["losses"][1] < report.details["losses"][0]


def test_the_gradient_of_a_choice_is_straight_through():
    layer = nn.Linear(4, 1, bias=False)
    layer.weight.data = torch.tensor([[0.1, -0.4, 0.2, 0.3]])
    layer.requires_grad_(False)
    (scores,) = put_scores(nn.Sequential(layer), 0.5)
    assert torch.allclose(scores, torch.tensor([[0.4, 1.6, 0.8, 1.2]]))
    inputs = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    output = layer(inputs)
    assert output.item() == pytest.approx(-0.4 * 2 + 0.3 * 4)
    torch.autograd.backward(output.sum())
    assert torch.allclose(scores.grad, torch.tensor([[0.1, -0.8, 0.6, 1.2]]))


def test_a_loss_that_is_not_finite_is_an_error(digits, tmp_path):
    model = network()
    nn.init.constant_(model.get_submodule("features.1").bias, float("nan"))
    broken = TrainedNetwork(model, CARD, digits, Rewind(lambda: model, lambda other: None))
    settings = DeploymentSettings(mask_epochs=1)
    with pytest.raises(TrainingError, match=r"loss of sparse is nan.*lower --mask-sparsity"):
        make_sparse(broken, settings, tmp_path / "a.packed")
    with pytest.raises(TrainingError, match="loss of supermask is nan"):
        make_supermask(broken, settings, tmp_path / "a.packed")
    assert not list(tmp_path.iterdir())


def test_at_least_one_weight_of_a_layer_is_chosen():
    layer = nn.Linear(3, 1)
    put_scores(nn.Sequential(layer), 0.99)
    assert (layer.weight != 0).sum() == 1
    supermasks.fix_choice(nn.Sequential(layer))
    assert np.count_nonzero(layer.weight.detach().numpy()) == 1
