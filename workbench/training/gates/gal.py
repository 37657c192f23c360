"""Soft masks and an adversary on the logits: GAL (method card).

Idea: a mask multiplies each filter's output. The network learns, without labels, to answer as the
unmasked network does, while a penalty on the masks closes those that are not needed. A second
network (discriminator) learns to tell the logits of the two apart; the first learns to deceive it.
Formula: min over weights and masks, max over the discriminator D, of |f_T - f_S|^2 / |f_T|^2
+ BCE(D(f_S / r), 1) + lambda |m|_1, where f_T are the logits of the network before this training,
and r is the root of the mean |f_T|^2 of the batch. The division by the mean square of f_T is ours:
one learning rate then suits all networks. D has three hidden layers of 128, 256 and 128 neurons; it
minimises BCE(D(f_T / r), 1) + BCE(D(f_S / r), 0).
D's slope is at most 1: each layer divides its weights by a bound of their largest singular value
where it exceeds 1. The gradient of the first term is 2 |f_T - f_S| / r, in units of r, that of the
second at most 1. D can therefore hold an image's f_S away from f_T by at most r / 2, and the first
term below 1/4. The authors do not bound D: it starts with weights of deviation 0.01 and has no
activations, f_T is not divided, and the rate is 0.01. Without the bound, at the rates of a
fine-tuning, D gets steeper and pulls f_S away faster than the first term brings it back.
The masks take a step of FISTA together with each step of the weights:
m <- max(sign(y) max(|y| - eta lambda, 0), 0) with y = m' - eta gradient at the extrapolated m';
the extrapolation starts again whenever it points uphill. Masks start at 1. A filter is removed
where m = 0. With a budget, the filters of all layers are ranked by m, and those with m = 0 are not
kept by the ranking. Other rules may keep them (one filter in each layer, ``--min-share``,
``--multiple-of``, the widths of another recipe). Such a filter starts with m = 0.01: with m = 0,
its scale and shift would be 0, and behind a ReLU it would have no gradient.
Training: the authors train for 100 epochs of CIFAR-10 with rate 0.01 and take a step of the masks
after every 200 steps. Their lambda is 0.05 to 0.1 for VGG and 0.6 to 0.8 for residual networks.
Here lambda = ``--gate-penalty`` / n for n filters in the network, and eta = n min(16 / T^2, 1/64)
times the factor of the learning rate, for T steps: with a penalty of 1, a mask that the data do not
hold back closes after about half of the training, whatever its length.
Their code adds a third term to D's loss that labels f_S as real; it works against the second one
and is left out. The weights, D's too, follow the plan of the fine-tuning.
Cost: ``--gate-epochs`` epochs of the full network on the target, with one more forward pass of the
unmasked network, before the analysis. They are part of the method's cost.
When it does not help: with few images, D has only a few batches per epoch and learns little, and a
bounded D distinguishes only logits that differ clearly. A mask can shrink while the scale of the
batch norm behind it grows; only weight decay limits this. Networks whose batch norms follow an
addition are rejected (``gated_network``).

Lin et al., "Towards Optimal Structured CNN Pruning via Generative Adversarial Learning", CVPR 2019
(arXiv 1903.09291).
Measured with VGG-16 on R1 (bf16, one cycle of 15 epochs with a peak rate of 0.05): without the
bound, the first term rises from 0.2 to 5.5 within 100 steps; without D, it falls to 0.08. With the
bound, it is at most 0.23 in 15 epochs, and D's loss 1.38 to 1.39 (1.386 is that of guessing): the
logits are too alike for a bounded D. At 10 % of the FLOPs (docs/results/bench-R1-S1-0.1-flops.md),
78.9 % on R1 and 93.3 % on S1, where no kept filter has a closed mask; before the bound, with
--min-share 0, 50 % on S1, which is chance.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits, linear

from workbench.training.distillation import LabelLoss
from workbench.training.gates.gated_network import Gate, GatedNetwork

PENALTY = 1.0
REVISION = 2  # 1: D is bounded; 2: kept filters with closed masks can learn
_CLOSED = 0.01  # factor of a filter that is kept although its mask is 0
_MOST_RATE = 1 / 64  # of eta, times the number of filters
_HIDDEN = (128, 256, 128)
_LEAST = 1e-12
_TINIEST = 1e-30  # below 128^-7, the least trace of a matrix that is not 0


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
        """Shape (n,): the masks; a small factor for closed ones, which may be kept, too."""
        return self.mask.masked_fill(self.mask == 0, _CLOSED)

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


class BoundedLinear(nn.Linear):
    """A linear layer that never enlarges the distance of two inputs.

    It divides its weights by a bound of their largest singular value where the bound exceeds 1.
    """

    def forward(self, x: Tensor) -> Tensor:
        """From shape (b, inputs) to shape (b, neurons)."""
        return linear(x, self.weight / largest_gain(self.weight).clamp(min=1), self.bias)


def largest_gain(weight: Tensor) -> Tensor:
    """An upper bound of the largest singular value s_1: (sum_i s_i^16)^(1/16).

    It is at most 1.36 s_1 for 128 singular values. Unlike a power iteration, which approaches s_1
    from below, it has no state, and D never gets steeper than it may be.
    """
    size: Tensor = weight.norm().clamp(min=_LEAST)
    product = weight / size
    product = product @ product.T if len(weight) <= weight.shape[1] else product.T @ product
    for _ in range(3):
        product = product @ product
    return size * product.trace().clamp(min=_TINIEST).pow(1 / 16)


def make_critic(classes: int, generator: torch.Generator) -> nn.Module:
    """The discriminator: from scaled logits, shape (b, classes), to one logit, shape (b, 1).

    Its slope is at most 1, whatever its weights are.
    """
    parts: list[nn.Module] = []
    inputs = classes
    for neurons in _HIDDEN:
        parts += [BoundedLinear(inputs, neurons), nn.ReLU()]
        inputs = neurons
    critic = nn.Sequential(*parts, BoundedLinear(inputs, 1))
    for layer in critic:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)
            with torch.no_grad():
                layer.weight.div_(largest_gain(layer.weight))
    return critic


def loss(
    gated: GatedNetwork, _on_labels: LabelLoss, logits: Tensor, wanted: Tensor, _penalty: float
) -> Tensor:
    """The loss of a step without the penalty, which the step of the masks contains.

    Args:
        logits, wanted: shape (b, classes), of the masked and of the unmasked network.
    """
    assert gated.critic is not None
    scale = wanted.square().sum(1).mean().clamp(min=_LEAST).sqrt()
    logits, wanted = logits / scale, wanted / scale
    own = data_loss(logits, wanted) + deception(gated.critic, logits)
    against = discrimination(gated.critic, logits, wanted)
    return own + against - against.detach()  # the recorded loss is that of the network


def data_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of the logits, as a share of the wanted logits' mean square."""
    return (logits - wanted).square().mean() / wanted.square().mean().clamp(min=_LEAST)


def deception(critic: nn.Module, logits: Tensor) -> Tensor:
    """How well the critic recognises the masked network; the gradient does not reach the critic.

    Args:
        logits: shape (b, classes), scaled.
    """
    fixed = {name: value.detach() for name, value in critic.named_parameters()}
    found = functional_call(critic, fixed, (logits,))
    return binary_cross_entropy_with_logits(found, torch.ones_like(found))


def discrimination(critic: nn.Module, logits: Tensor, wanted: Tensor) -> Tensor:
    """The critic's own loss; the gradient does not reach the network.

    Args:
        logits, wanted: shape (b, classes), scaled.
    """
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
