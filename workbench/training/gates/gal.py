"""Soft masks and an adversary on the logits: GAL (method card).

Idea: a mask multiplies each filter's output. The network learns, without labels, to answer as the
unmasked network does, while a penalty on the masks closes those that are not needed. A second
network (discriminator) learns to tell the logits of the two apart; the first learns to deceive it.
Formula: min over weights and masks, max over the discriminator D, of |f_T - f_S|^2 / |f_T|^2
+ BCE(D(f_S), 1) + lambda |m|_1, where f_T are the logits of the network before this training. The
division by the mean square of f_T is ours: one learning rate then suits all networks. D has three
hidden layers of 128, 256 and 128 neurons; it minimises BCE(D(f_T), 1) + BCE(D(f_S), 0), and weight
decay is its only regulariser. The masks take a step of FISTA after each step of the weights:
m <- max(sign(y) max(|y| - eta lambda, 0), 0) with y = m' - eta gradient at the extrapolated m';
the extrapolation starts again whenever it points uphill. Masks start at 1. A filter is removed
where m = 0. With a budget, the filters of all layers are ranked by m, and those with m = 0 are not
kept.
Training: the authors train for 100 epochs of CIFAR-10 with rate 0.01 and take a step of the masks
after every 200 steps. Their lambda is 0.05 to 0.1 for VGG and 0.6 to 0.8 for residual networks.
Here lambda = ``--gate-penalty`` / n for n filters in the network, and eta = n min(16 / T^2, 1/64)
times the factor of the learning rate, for T steps: with a penalty of 1, a mask that the data do not
hold back closes after about half of the training, whatever its length.
Their code adds a third term to D's loss that labels f_S as real; it works against the second one
and is left out.
Cost: ``--gate-epochs`` epochs of the full network on the target, with one more forward pass of the
unmasked network, before the analysis. They are part of the method's cost.
When it does not help: with few images, D has only a few batches per epoch and learns little. A mask
can shrink while the scale of the batch norm behind it grows; only weight decay limits this.
Networks whose batch norms follow an addition are rejected (``gated_network``).

Lin et al., "Towards Optimal Structured CNN Pruning via Generative Adversarial Learning", CVPR 2019
(arXiv 1903.09291).
Measured at 10 % of the FLOPs (docs/results/bench-R1-S1-0.1-flops.md): 50 % on S1, which is chance.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits

from workbench.training.distillation import LabelLoss
from workbench.training.gates.gated_network import Gate, GatedNetwork

PENALTY = 1.0
_MOST_RATE = 1 / 64  # of eta, times the number of filters
_HIDDEN = (128, 256, 128)
_LEAST = 1e-12


class MaskGate(Gate):
    """Soft masks of n filters.

    Attributes:
        place: shape (n,): the extrapolated masks, at which the network is evaluated in training.
        mask: shape (n,): the masks, at least 0.
    """

    mask: Tensor
    inertia: Tensor

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.ones(filters))
        self.register_buffer("mask", torch.ones(filters))
        self.register_buffer("inertia", torch.ones(()))

    def sample(self, images: int) -> Tensor:
        """Shape (1, n): the extrapolated masks."""
        return self.place[None]

    def factors(self) -> Tensor:
        """Shape (n,): the masks."""
        return self.mask

    def scores(self) -> Tensor:
        """Shape (n,): the masks."""
        return self.mask

    @torch.no_grad()
    def take_step(self, rate: float, penalty: float) -> None:
        """One step of FISTA with restarts.

        Args:
            rate: eta.
            penalty: lambda.
        """
        gradient = self.place.grad
        if gradient is None:
            return
        new = shrink(self.place - rate * gradient, rate * penalty).clamp_(min=0)
        uphill = torch.dot(self.place - new, new - self.mask) > 0
        before = torch.where(uphill, torch.ones_like(self.inertia), self.inertia)
        after = (1 + (1 + 4 * before.square()).sqrt()) / 2
        self.place.copy_(new + (before - 1) / after * (new - self.mask))
        self.mask.copy_(new)
        self.inertia.copy_(after)


def shrink(values: Tensor, threshold: float) -> Tensor:
    """The proximal step of the L1 norm: sign(v) max(|v| - threshold, 0)."""
    return values.sign() * (values.abs() - threshold).clamp(min=0)


def make_gate(filters: int, _generator: torch.Generator) -> Gate:
    """The gates of one filter group."""
    return MaskGate(filters)


def make_critic(classes: int, generator: torch.Generator) -> nn.Module:
    """The discriminator: from logits, shape (b, classes), to one logit, shape (b, 1)."""
    parts: list[nn.Module] = []
    inputs = classes
    for neurons in _HIDDEN:
        parts += [nn.Linear(inputs, neurons), nn.ReLU()]
        inputs = neurons
    critic = nn.Sequential(*parts, nn.Linear(inputs, 1))
    for layer in critic:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)
    return critic


def loss(
    gated: GatedNetwork, _on_labels: LabelLoss, logits: Tensor, wanted: Tensor, _penalty: float
) -> Tensor:
    """The loss of a step without the penalty, which the step of the masks contains.

    Args:
        logits, wanted: shape (b, classes), of the masked and of the unmasked network.
    """
    assert gated.critic is not None
    own = data_loss(logits, wanted) + deception(gated.critic, logits)
    against = discrimination(gated.critic, logits, wanted)
    return own + against - against.detach()  # the recorded loss is that of the network


def data_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of the logits, as a share of the wanted logits' mean square."""
    return (logits - wanted).square().mean() / wanted.square().mean().clamp(min=_LEAST)


def deception(critic: nn.Module, logits: Tensor) -> Tensor:
    """How well the critic recognises the masked network; the gradient does not reach the critic."""
    fixed = {name: value.detach() for name, value in critic.named_parameters()}
    found = functional_call(critic, fixed, (logits,))
    return binary_cross_entropy_with_logits(found, torch.ones_like(found))


def discrimination(critic: nn.Module, logits: Tensor, wanted: Tensor) -> Tensor:
    """The critic's own loss; the gradient does not reach the network."""
    real, made = critic(wanted), critic(logits.detach())
    return binary_cross_entropy_with_logits(
        real, torch.ones_like(real)
    ) + binary_cross_entropy_with_logits(made, torch.zeros_like(made))


def take_step(gated: GatedNetwork, share: float, penalty: float, steps: int) -> None:
    """Update all masks."""
    filters = sum(group.filters for group in gated.places)
    rate = filters * min(16 / steps**2, _MOST_RATE)
    for gate in gated.own:
        assert isinstance(gate, MaskGate)
        gate.take_step(rate * share * steps, penalty / filters)
