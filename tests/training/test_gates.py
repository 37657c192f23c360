"""Gates in a network: their laws, their trainings, and the way back to a plain network."""

import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import naive
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.integrate import quad
from scipy.stats import norm
from torch import nn

from workbench.compression.groups.rebuild import rebuild
from workbench.compression.groups.tracing import find_structure
from workbench.compression.narrow_networks import structure_of
from workbench.data.catalog import SOURCES
from workbench.data.known_sets import Images, load_images
from workbench.errors import NetworkError
from workbench.models.networks import build_network
from workbench.models.processor import Processor
from workbench.training.checkpoints import Checkpoint
from workbench.training.gates import GATE_METHODS, gal, vib
from workbench.training.gates.gal import (
    MaskGate,
    data_loss,
    deception,
    discrimination,
    largest_gain,
    shrink,
)
from workbench.training.gates.gate_training import GateTraining, gated
from workbench.training.gates.gated_network import check_gates, find_places
from workbench.training.gates.vib import VibGate, divergence, mean_information
from workbench.training.loop import fit
from workbench.training.plans import Plan, batch_sizes

CPU, DIGITS = Processor("cpu", "fp32", 1), SOURCES["digits"]
PLAN = Plan(3, "one-cycle", 2, 0.05, 16, 1e-3, augment=False)


class Neurons(nn.Module):
    """Layers without batch norms: a convolution, and linear layers behind a flatten."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.one, self.two = nn.Conv2d(1, 6, 3, stride=2, padding=1), nn.Linear(96, 12)
        self.three, self.head = nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = nn.functional.gelu(self.one(x)).flatten(1)
        return self.head(self.three(self.two(x).relu()).tanh())


class NormFirst(nn.Module):
    """A stream of additions whose batch norm follows the addition."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.one(x)
        x = x + self.two(x.relu())
        return self.head(self.norm(x).relu().mean(dim=(2, 3)))


class Sigmoid(Neurons):
    def forward(self, x):
        x = self.one(x).sigmoid().flatten(1)
        return self.head(self.three(self.two(x).relu()).tanh())


@pytest.fixture(scope="module")
def few():
    images = load_images("digits", "train", None)
    return Images(images.pixels[:48], images.labels[:48])


def made(name):
    """A network, its structure and its image shape."""
    if name == "neurons":
        model, shape = Neurons(), (1, 8, 8)
        return model, find_structure(model, shape), shape
    shape = (1, 8, 8) if name == "simplecnn" else (3, 32, 32)
    return build_network(name, shape, 3, seed=1), structure_of(name, shape, 3), shape


def opened(network, random):
    """Give all gates random factors, a third of them closed."""
    with torch.no_grad():
        for gate in network.own:
            filters = len(gate.factors())
            factors = torch.from_numpy(random.uniform(0.5, 1.5, filters))
            closed = torch.from_numpy(random.uniform(size=filters) < 1 / 3)
            closed[0] = False
            if isinstance(gate, VibGate):
                gate.mean.copy_(factors * torch.from_numpy(random.choice([-1, 1], filters)))
                gate.log_variance.copy_(torch.where(closed, 4.0, -4.0))
            else:
                gate.mask.copy_(torch.where(closed, 0.0, factors))


@pytest.mark.parametrize("method", GATE_METHODS)
@pytest.mark.parametrize("name", ["simplecnn", "neurons", "resnet56", "resnet34"])
def test_the_network_without_closed_filters_equals_the_gated_one(name, method):
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    model, structure, shape = made(name)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.5, 0.5)
            nn.init.normal_(part.bias)
    network = gated(model, structure, shape, GATE_METHODS[method], 3, seed=0).double().eval()
    opened(network, random)
    images = torch.from_numpy(random.normal(size=(2, *shape)))
    kept = {n: np.flatnonzero(s > 0).tolist() for n, s in network.scores().items()}
    assert 0 < sum(map(len, kept.values())) < sum(group.filters for group in structure.groups)
    with torch.no_grad():
        wanted = network(images)
        plain = network.fold()
        cut = rebuild(plain, kept, structure)(images)
        if method == "vib":  # whose closed gates are noise, but not 0
            assert not torch.allclose(plain(images), wanted, rtol=1e-3)
    assert (cut - wanted).abs().max() < 1e-6 * wanted.abs().max()


def test_one_gate_acts_on_all_layers_of_a_group():
    model, structure, shape = made("resnet34")
    places = {each.group: each for each in find_places(model, structure, shape)}
    shared = next(group for group in structure.groups if len(group.layers) > 1)
    norms = [place.module for place in places[shared.name].places]
    assert len(set(norms)) == len(shared.layers)
    assert all(isinstance(model.get_submodule(name), nn.BatchNorm2d) for name in norms)


@pytest.mark.parametrize(("model", "layer"), [(NormFirst(), "one"), (Sigmoid(), "one")])
def test_networks_in_which_a_closed_gate_is_no_removed_filter_are_rejected(model, layer):
    structure = find_structure(model, (1, 8, 8))
    with pytest.raises(NetworkError, match=f"layer '{layer}': a filter whose gate is closed"):
        check_gates(model, structure, (1, 8, 8))


def test_networks_of_the_table_pass_this_check():
    for name in ("simplecnn", "resnet56"):
        check_gates(*made(name))


# --- VIB ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean", [-1.5, 0.0, 0.2, 1.0])
@pytest.mark.parametrize("variance", [1e-3, 0.3, 2.0])
def test_the_divergence_is_that_of_the_two_gaussians(mean, variance):
    own, prior = norm(mean, math.sqrt(variance)), norm(0, math.sqrt(mean**2 + variance))
    expected, _ = quad(
        lambda z: own.pdf(z) * (own.logpdf(z) - prior.logpdf(z)),
        mean - 12 * math.sqrt(variance), mean + 12 * math.sqrt(variance),
    )  # fmt: skip
    found = divergence(torch.tensor(mean).double(), torch.tensor(math.log(variance)).double())
    assert float(found) == pytest.approx(expected, abs=1e-5)


def test_the_penalty_counts_positions_and_filters():
    model, structure, shape = made("simplecnn")
    network = gated(model, structure, shape, GATE_METHODS["vib"], 3, seed=0)
    opened(network, np.random.default_rng(1))
    rows = [(gate.mean.tolist(), gate.log_variance.tolist()) for gate in network.own]
    positions = [place.positions for place in network.places]
    assert positions[0] == 64
    assert len(set(positions)) > 1
    expected = naive.mean_information(rows, positions)
    assert float(mean_information(network).detach()) == pytest.approx(expected, rel=1e-5)


def test_its_gates_are_drawn_for_each_image_with_their_mean_and_variance():
    gate = VibGate(3, torch.Generator().manual_seed(0))
    with torch.no_grad():
        gate.mean.copy_(torch.tensor([1.0, -2.0, 0.0]))
        gate.log_variance.copy_(torch.tensor([0.0, -2.0, 1.0]))
        drawn = gate.sample(200_000)
    assert drawn.shape == (200_000, 3)
    assert torch.allclose(drawn.mean(0), gate.mean, atol=0.02)
    assert torch.allclose(drawn.var(0), gate.log_variance.exp(), rtol=0.02)


def test_its_steps_are_those_of_adam():
    gate, (rate, *_) = VibGate(5, torch.Generator().manual_seed(0)), (3.0 * 0.001,)
    twin = nn.Parameter(gate.mean.detach().clone())
    adam = torch.optim.Adam([twin], lr=rate)
    for number in range(4):
        gradient = torch.randn(5, generator=torch.Generator().manual_seed(number))
        gate.mean.grad, twin.grad = gradient.clone(), gradient.clone()
        gate.take_step(0.001)
        adam.step()
        assert torch.allclose(gate.mean, twin, atol=1e-6)


def test_a_gate_without_mean_is_closed_whatever_its_noise():
    gate = VibGate(3, torch.Generator().manual_seed(0))
    with torch.no_grad():
        gate.mean.copy_(torch.tensor([0.0, 1e-6, 1.0]))
        gate.log_variance.copy_(torch.tensor([-30.0, -30.0, -30.0]))
    scores = gate.scores().detach()
    assert torch.isfinite(scores).all()
    assert (scores > 0).tolist() == [False, True, True]
    assert float(scores[1]) == pytest.approx(math.log(1e-12) + 30, rel=1e-4)


def trained(few, name, penalty, plan=PLAN, **options):
    model = build_network("simplecnn", (1, 8, 8), 10, seed=3)
    method = GATE_METHODS[name]
    structure = structure_of("simplecnn", (1, 8, 8), 10)
    reference = copy.deepcopy(model) if method.compares else None
    network = gated(model, structure, (1, 8, 8), method, 10, seed=0)
    steps = plan.epochs * len(batch_sizes(len(few), plan.batch_size))
    guide = GateTraining(method, penalty, steps, reference)
    progress = fit(network, few, DIGITS, plan, seed=0, processor=CPU, teacher=guide, **options)
    return network, progress


@pytest.mark.parametrize("name", GATE_METHODS)
def test_a_penalty_closes_gates(few, name):
    plan = replace(PLAN, batch_size=4)
    counts = []
    for penalty in (0.0, 10.0):
        scores = torch.cat(list(trained(few, name, penalty, plan)[0].scores().values()))
        counts.append(int((scores > 0).sum()))
    assert counts[0] > counts[1]
    if name == "vib":  # the data alone can close a mask of GAL
        assert counts[0] == len(scores)


# --- GAL ------------------------------------------------------------------------------------


def test_the_step_of_the_masks_is_the_minimum_of_the_prox():
    grid = np.linspace(-3, 3, 60_001)
    for value in (-1.7, -0.2, 0.0, 0.3, 2.0):
        for threshold in (0.0, 0.25, 1.0):
            least = grid[np.argmin(0.5 * (grid - value) ** 2 + threshold * np.abs(grid))]
            found = float(shrink(torch.tensor(value), threshold))
            assert found == pytest.approx(least, abs=2e-4)
            assert found == pytest.approx(
                math.copysign(max(abs(value) - threshold, 0.0), value), abs=1e-6
            )


def test_its_steps_are_those_of_fista():
    wanted = torch.tensor([0.9, 0.2, -0.5, 1.4])
    gate, (rate, penalty) = MaskGate(4), (0.05, 0.3)
    expected = naive.fista(wanted.tolist(), rate, penalty, 60)
    for masks in expected:
        gate.place.grad = gate.place.detach() - wanted  # of half the squared distance
        gate.take_step(rate, penalty)
        assert torch.allclose(gate.mask, torch.tensor(masks), atol=1e-5)
    # The minimum of the distance and the penalty, which it has reached after 60 steps.
    assert torch.allclose(gate.mask, (wanted - penalty).clamp(min=0), atol=1e-3)


def test_a_filter_that_is_kept_with_a_closed_mask_can_learn():
    model, structure, shape = made("simplecnn")
    network = gated(model, structure, shape, GATE_METHODS["gal"], 3, seed=0)
    with torch.no_grad():
        network.own[1].mask.zero_()
    images = torch.randn(5, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        silent = network.eval()(images)
    assert torch.equal(silent, silent[:1].expand_as(silent))  # no filter of a layer answers
    kept = {structure.groups[1].name: [0]}
    small = rebuild(network.fold(), kept, structure).train()
    torch.manual_seed(0)  # of the dropout
    logits = small(images)
    assert (logits.std(dim=0) > 0).all()
    logits[:, 0].sum().backward()
    assert all(
        value.grad.abs().max() > 0
        for part in small.modules()
        if isinstance(part, nn.BatchNorm2d)
        for value in part.parameters()
    )


def test_masks_of_1_have_no_loss_on_the_data(few):
    model = build_network("simplecnn", (1, 8, 8), 10, seed=3).eval()
    structure = structure_of("simplecnn", (1, 8, 8), 10)
    images = torch.randn(4, 1, 8, 8)
    wanted = model(images)
    network = gated(copy.deepcopy(model), structure, (1, 8, 8), GATE_METHODS["gal"], 10, seed=0)
    with torch.no_grad():
        assert data_loss(network.eval()(images), wanted) == 0
        assert float(data_loss(2 * wanted, wanted)) == pytest.approx(1)


def test_each_network_of_the_game_gets_the_gradient_of_its_own_loss():
    critic = gal.make_critic(3, torch.Generator().manual_seed(0))
    logits, wanted = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3)
    own = deception(critic, logits)
    own.backward()
    assert logits.grad.abs().sum() > 0
    assert all(value.grad is None for value in critic.parameters())
    logits.grad = None
    against = discrimination(critic, logits, wanted)
    against.backward()
    assert logits.grad is None
    assert all(value.grad.abs().sum() > 0 for value in critic.parameters())
    answers = [critic(each)[:, 0].tolist() for each in (logits, wanted)]
    made_up, real = answers
    assert float(own.detach()) == pytest.approx(naive.surprise(made_up), rel=1e-5)
    expected = naive.surprise(real) + naive.surprise([-each for each in made_up])
    assert float(against.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(128, 10), (256, 128), (128, 256), (1, 128), (3, 3)])
def test_the_bound_of_a_layer_is_just_above_its_largest_singular_value(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for each in (weight, 1e-6 * weight, 1e6 * weight, weight[:, :1] @ weight[:1]):
        largest = np.linalg.svd(each.double().numpy(), compute_uv=False)[0]
        assert 0.9999 * largest <= float(largest_gain(each)) <= 1.36 * largest
    nothing = torch.zeros(shape, requires_grad=True)
    largest_gain(nothing).clamp(min=1).backward()
    assert nothing.grad.isfinite().all()


def steep_critic(scale):
    critic = gal.make_critic(10, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for value in critic.parameters():
            value.mul_(scale)
    return critic


def steepest_critic():
    """Reads the sum of the logits with a slope of 1, which no other direction has."""
    critic = gal.make_critic(10, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, value in critic.named_parameters():
            value.fill_(float("weight" in name))
    return critic


@pytest.mark.parametrize("scale", [0.1, 1, 1e3])
def test_the_slope_of_the_critic_is_at_most_1(scale):
    critic = steep_critic(scale).double()
    inputs = torch.randn(200, 10).double().requires_grad_()
    slopes = torch.autograd.grad(critic(inputs).sum(), inputs)[0].norm(dim=1)
    assert 0 < slopes.max() <= 1
    ones = torch.ones(1, 10, requires_grad=True)
    steepest_critic()(ones).sum().backward()
    assert float(ones.grad.norm()) == pytest.approx(1, abs=1e-3)


def test_the_critic_cannot_hold_logits_far_away():
    """Beyond half the size of the wanted logits, the gradient points back to them."""
    random = torch.Generator().manual_seed(0)
    wanted = 3 * torch.randn(64, 10, generator=random)
    size = wanted.square().sum(1).mean().sqrt()
    for critic in (steep_critic(1), steep_critic(1e3), steepest_critic()):
        gated_network = SimpleNamespace(critic=critic)
        for distance in (0.51, 3.0):
            away = torch.randn(64, 10, generator=random)
            away[:32] = 1
            away *= distance * size / away.norm(dim=1, keepdim=True)
            logits = (wanted + away).requires_grad_()
            gal.loss(gated_network, None, logits, wanted, 1.0).backward()
            assert ((logits.grad * away).sum(1) > 0).all()


def test_the_scale_of_the_logits_changes_nothing():
    gated_network = SimpleNamespace(critic=steep_critic(1))
    logits, wanted = torch.randn(5, 10), torch.randn(5, 10)
    losses = [
        float(gal.loss(gated_network, None, scale * logits, scale * wanted, 1.0).detach())
        for scale in (1, 100)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_its_loss_stays_finite_at_a_large_rate(few):
    _, progress = trained(few, "gal", 1.0, replace(PLAN, batch_size=4, learning_rate=4.0))
    assert max(epoch.loss for epoch in progress.epochs) < 2


# --- in the training loop ---------------------------------------------------------------------


class StopError(Exception):
    pass


@pytest.mark.parametrize("name", GATE_METHODS)
def test_an_interrupted_training_of_gates_continues_bit_by_bit(few, name, tmp_path):
    whole, all_epochs = trained(few, name, 1.0)
    checkpoint = Checkpoint(tmp_path / "checkpoint.safetensors", "key")

    def stop(epoch):
        if epoch.number == 2:
            raise StopError

    with pytest.raises(StopError):
        trained(few, name, 1.0, checkpoint=checkpoint, on_epoch=stop)
    saved = load_file(checkpoint.path)
    gates = {n for n in saved if n.startswith("model.gates.")}
    assert gates
    # The optimiser of the weights, and so its weight decay, does not know the gates.
    assert not any(n.startswith("momentum.gates.") for n in saved)
    assert any(n.startswith("momentum.network.") for n in saved)
    again, epochs = trained(few, name, 1.0, checkpoint=checkpoint)
    assert [each.loss for each in epochs.epochs] == [each.loss for each in all_epochs.epochs]
    state = again.state_dict()
    assert all(torch.equal(value, state[n]) for n, value in whole.state_dict().items())
    assert any(n.startswith("gates.") for n in state)


def test_the_recorded_loss_is_that_of_the_network_and_its_penalty(few):
    plan = Plan(1, "paper", 1, 1e-6, 48, 0.0, augment=False)
    _, free = trained(few, "vib", 0.0, plan)
    _, paid = trained(few, "vib", 2.0, plan)
    information = divergence(torch.tensor(1.0), torch.tensor(-9.0))
    difference = paid.epochs[0].loss - free.epochs[0].loss
    assert difference == pytest.approx(2 * float(information), rel=0.01)


def test_a_network_without_gates_cannot_be_trained_by_their_guide(few):
    guide = GateTraining(GATE_METHODS["vib"], 1.0, 3)
    with pytest.raises(TypeError, match="has no gates"):
        fit(
            build_network("simplecnn", (1, 8, 8), 10), few, DIGITS, PLAN, seed=0, processor=CPU,
            teacher=guide,
        )  # fmt: skip


def test_a_step_depends_on_the_share_of_the_training_not_on_its_length():
    """Twice as many steps of half the size: gates travel as far in a long as in a short one."""
    ends = []
    for steps in (400, 800):
        gate = VibGate(1, torch.Generator().manual_seed(0))
        for _ in range(steps):
            gate.log_variance.grad = torch.tensor([-0.5])
            gate.take_step(1 / steps)
        ends.append(float(gate.log_variance.detach()))
    assert ends == pytest.approx([vib._START + 27] * 2, abs=0.2)
