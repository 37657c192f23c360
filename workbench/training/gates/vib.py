"""Variational information bottleneck: noisy gates with a penalty on information (method card).

Idea: each filter's output is multiplied by a random gate. A penalty makes noise cheap and
information expensive, so a filter that the labels do not need ends as pure noise and is removed.
Formula: z_j ~ N(mu_j, sigma_j^2), one draw per image and filter. Loss = cross-entropy + kappa
sum_l s_l sum_j 1/2 log(1 + mu_j^2 / (sigma_j^2 + 1e-8)). The last term is the divergence of
N(mu, sigma^2) from N(0, mu^2 + sigma^2), the best prior of mean 0. s_l = sqrt(height x width):
the authors' code multiplies height x width by a factor of each layer, 1 / width in its VGG-16. A
filter is removed where log(sigma^2 / mu^2) >= 0. With a budget, the filters of all layers are
ranked by log(mu^2 / sigma^2). In evaluation the gate is mu.
Training: mu starts near 1 and log sigma^2 near -9, as in the authors' code, which trains for 300
epochs with Adam (rate 1e-3, kappa from 1e-5 to 3e-5). Short trainings would not move such gates.
Here Adam's rates are chosen so that each gate can cross its range about three times, whatever the
length, and kappa = ``--gate-penalty`` / sum_l s_l n_l, so that one value suits networks of all
sizes: kappa = 1e-5 corresponds to about 0.25 for VGG-16 on 32x32 images. The network's weights
follow the plan of the fine-tuning. The authors put the gate behind the activation; here it is
before it, so that it can be multiplied into the batch norm (``gated_network``).
Cost: ``--gate-epochs`` epochs of the full network on the target, before the analysis. They are
part of the method's cost: pfa-fine then trains for its own epochs, too.
When it does not help: on short schedules, where the ranking is not settled, and in networks whose
batch norms follow an addition, which are rejected. The scales are not comparable between layers
with few positions and layers with many, other than through s_l.

Dai, Zhu, Guo, Wipf, "Compressing Neural Networks using the Variational Information Bottleneck",
ICML 2018 (arXiv 1802.10399).
Measured at 10 % of the FLOPs (docs/results/bench-R1-S1-0.1-flops.md): 87.3 % on R1, 92.8 % on S1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.training.distillation import LabelLoss
from workbench.training.gates.gated_network import Gate, GatedNetwork

PENALTY = 0.3
REVISION = 1  # a gate without mean is closed
_EPSILON = 1e-8
_SPREAD = 0.01  # standard deviation of the initial values
_START = -9.0  # of log sigma^2
_CROSSINGS = 3.0  # how often a gate could cross its range in the whole training
_RATES = {"mean": (1.0, 0.05), "log_variance": (9.0, 0.5)}  # the range, and the largest rate
_DECAYS = (0.9, 0.999)  # of Adam's moments


class VibGate(Gate):
    """Random gates of n filters.

    The moments of Adam are buffers, so that checkpoints hold them.

    Args:
        filters: n.
        generator: draws the initial values.
    """

    def __init__(self, filters: int, generator: torch.Generator) -> None:
        super().__init__()
        noise = _SPREAD * torch.randn(2, filters, generator=generator)
        self.mean = nn.Parameter(1 + noise[0])
        self.log_variance = nn.Parameter(_START + noise[1])
        for name in _RATES:
            for moment in ("first", "second"):
                self.register_buffer(f"{moment}_{name}", torch.zeros(filters))
        self.register_buffer("steps", torch.zeros(()))

    def sample(self, images: int) -> Tensor:
        """Draw a gate for each image and filter: shape (images, n)."""
        noise = torch.randn(images, len(self.mean), device=self.mean.device)
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def factors(self) -> Tensor:
        """Shape (n,): the means."""
        return self.mean

    def scores(self) -> Tensor:
        """Shape (n,): log(mu^2 / sigma^2); very low, but finite, where mu is 0."""
        squares = self.mean.square().clamp(min=torch.finfo(self.mean.dtype).tiny)
        return squares.log() - self.log_variance

    def divergence(self) -> Tensor:
        """Shape (n,): the information that passes each gate, in nats."""
        return divergence(self.mean, self.log_variance)

    @torch.no_grad()
    def take_step(self, share: float) -> None:
        """One step of Adam.

        Args:
            share: of the whole training, times the present factor of the learning rate.
        """
        steps = self.get_buffer("steps").add_(1)
        for name, (span, most) in _RATES.items():
            values = self.get_parameter(name)
            if values.grad is None:
                continue
            moments = []
            for moment, decay, seen in zip(
                ("first", "second"), _DECAYS, (values.grad, values.grad.square()), strict=True
            ):
                mean = self.get_buffer(f"{moment}_{name}").lerp_(seen, 1 - decay)
                moments.append(mean / (1 - decay**steps))
            rate = min(most, _CROSSINGS * span * share)
            values.sub_(rate * moments[0] / (moments[1].sqrt() + _EPSILON))


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, mu^2 + sigma^2)) = 1/2 log(1 + mu^2 / sigma^2), in nats."""
    return 0.5 * torch.log1p(mean.square() / (log_variance.exp() + _EPSILON))


def make_gate(filters: int, generator: torch.Generator) -> Gate:
    """The gates of one filter group."""
    return VibGate(filters, generator)


def loss(
    gated: GatedNetwork, on_labels: LabelLoss, logits: Tensor, _wanted: Tensor, penalty: float
) -> Tensor:
    """The loss of a step: on the labels, and on the information that passes the gates."""
    return on_labels(logits) + penalty * mean_information(gated)


def mean_information(gated: GatedNetwork) -> Tensor:
    """Nats per filter, weighted by the square root of the positions of each layer."""
    total = torch.zeros((), device=next(gated.parameters()).device)
    weights = 0.0
    for group, gate in zip(gated.places, gated.own, strict=True):
        assert isinstance(gate, VibGate)
        weight = group.positions**0.5
        total = total + weight * gate.divergence().sum()
        weights += weight * group.filters
    return total / weights


def take_step(gated: GatedNetwork, share: float, _penalty: float, _steps: int) -> None:
    """Update all gates."""
    for gate in gated.own:
        assert isinstance(gate, VibGate)
        gate.take_step(share)
