"""The orthogonality penalty: laws, a slow transcription, and trainings with it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from workbench.compression.narrow_networks import structure_of
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images
from workbench.models.networks import build_network
from workbench.models.processor import Processor
from workbench.training.gates import GATE_METHODS
from workbench.training.gates.gate_training import gated
from workbench.training.loop import fit
from workbench.training.mutual_learning import Peers
from workbench.training.orthogonality import penalised_layers, penalty, weights_of
from workbench.training.plans import Plan

DIGITS, CPU = SOURCES["digits"], Processor("cpu", "fp32", 1)
PLAN = Plan(2, "one-cycle", 1, 0.05, 16, 5e-4, augment=True)


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 12, 3, groups=2),
            nn.ReLU(), nn.Conv2d(12, 12, 3, groups=12), nn.Flatten(), nn.Linear(48, 9), nn.ReLU(),
            nn.Linear(9, 4),
        )  # fmt: skip


def images_of(number=40):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, DIGITS.white + 1, (number, *DIGITS.shape), dtype=np.uint8)
    return Images(pixels, rng.integers(0, 4, number))


def random_weight(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def naive(model):
    """The formula, filter by filter, with float64 loops over pairs."""
    total = 0.0
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)][:-1]
    for layer in layers:
        weight = layer.weight.detach().double().flatten(1).numpy()
        for rows in np.split(weight, getattr(layer, "groups", 1)):
            rows = rows if len(rows) <= rows.shape[1] else rows.T
            for i, one in enumerate(rows):
                for j, other in enumerate(rows):
                    total += 0.5 * (one @ other - (i == j)) ** 2
    return total


def test_the_penalty_is_its_formula_without_the_classifier():
    model = network()
    layers = penalised_layers(model)
    assert layers == {"0": 1, "3": 2, "5": 12, "7": 1}
    assert penalty(weights_of(model, layers)).item() == pytest.approx(naive(model), rel=1e-5)


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (30, 2, 3, 3), (5, 5), (1, 7)])
def test_orthogonal_weights_have_no_penalty(shape):
    """Rows that are orthonormal; columns where there are more rows than columns."""
    flat = random_weight(*shape).flatten(1)
    left, _, right = torch.linalg.svd(flat, full_matrices=False)
    orthogonal = (left @ right).view(shape)
    assert penalty([(orthogonal, 1)]).item() == pytest.approx(0, abs=1e-20)
    assert penalty([(2 * orthogonal, 1)]).item() > 1


@pytest.mark.parametrize("shape", [(4, 9), (9, 4)])
def test_its_gradient(shape):
    """2 beta (W W^T - I) W; with more rows than columns, that of W^T W - I, which is the same."""
    weight = random_weight(*shape).requires_grad_()
    (found,) = torch.autograd.grad(penalty([(weight, 1)]), weight)
    w = weight.detach()
    torch.testing.assert_close(found, 2 * (w @ w.T - torch.eye(shape[0])) @ w)


def test_tall_and_wide_products_differ_by_a_constant():
    w = random_weight(9, 4)
    rows = 0.5 * (w @ w.T - torch.eye(9)).square().sum()
    assert penalty([(w, 1)]).item() == pytest.approx(rows.item() - 0.5 * (9 - 4))


def test_every_network_of_mutual_learning_keeps_its_classifier():
    names = set(penalised_layers(Peers([network(), network(1)])))
    assert {"networks.0.7", "networks.1.7"} <= names
    assert not {"networks.0.9", "networks.1.9"} & names
    assert len(names) == 8


@pytest.mark.parametrize("method", GATE_METHODS)
def test_a_network_with_gates_has_the_penalty_of_its_own_layers(method):
    plain = build_network("simplecnn", (1, 8, 8), 3)
    structure = structure_of("simplecnn", (1, 8, 8), 3)
    network = gated(plain, structure, (1, 8, 8), GATE_METHODS[method], 3, seed=0)
    wanted = {f"network.{name}": groups for name, groups in penalised_layers(plain).items()}
    assert wanted
    assert penalised_layers(network) == wanted


def test_a_network_of_one_layer_has_nothing_to_penalise():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    assert penalised_layers(model) == {}
    fit(model, images_of(), DIGITS, replace(PLAN, orthogonality=1), seed=0, processor=CPU)


def trained(beta):
    model = network()
    fit(model, images_of(), DIGITS, replace(PLAN, orthogonality=beta), seed=0, processor=CPU)
    return model


def test_a_training_with_it_ends_nearer_to_orthogonal_rows():
    plain, same, penalised = trained(0), trained(0.0), trained(1)
    for one, other in zip(plain.parameters(), same.parameters(), strict=True):
        assert torch.equal(one, other)
    assert naive(penalised) < 0.5 * naive(plain)


def test_the_first_loss_has_the_penalty_once():
    """One step of one batch: the loss with it, less the loss without it."""
    plan, images, losses = replace(PLAN, epochs=1, batch_size=40), images_of(), []
    for beta in (0, 0.3):
        model = network()
        step = replace(plan, orthogonality=beta)
        losses.append(fit(model, images, DIGITS, step, seed=0, processor=CPU).epochs[0].loss)
    assert losses[1] - losses[0] == pytest.approx(0.3 * naive(network()), rel=1e-4)


def test_a_plan_without_it_is_recorded_as_before():
    assert "orthogonality" not in PLAN.parts()
    assert replace(PLAN, orthogonality=0.1).parts()["orthogonality"] == 0.1
