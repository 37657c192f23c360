"""Deep mutual learning: networks that are trained at the same time teach each other (method card).

Idea: two untrained networks make different mistakes. Each learns the other's probabilities, so none
needs a trained teacher, and the smaller one learns from one that is only a little ahead of it.
Formula: for K networks, L_i = CE(y, p_i) + mean over j != i of KL(p_j || p_i), at temperature 1.
The gradient of L_i reaches network i alone. SGD works value by value, so one optimiser of all
values is equivalent to K optimisers. With K = 1, this is plain training.
Cost: a training of every network. Here the compressed and the full network are trained side by
side, each from the source's weights; only the compressed one is stored and evaluated.
When it does not help: if a much better teacher already exists.

Zhang, Xiang, Hospedales, Lu, "Deep Mutual Learning", CVPR 2018 (arXiv 1706.00384), equations 1 to
8.

For ``training.loop``, ``Peers`` are one network, so checkpoints contain all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from workbench.training.distillation import LabelLoss
from workbench.training.objectives.soft_targets import soft_loss


class Peers(nn.Module):
    """Networks that are trained together; the logits are those of the first one.

    Args:
        networks: at least one, with the same classes.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.others: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the first network, shape (b, classes); those of the others are kept."""
        logits: list[Tensor] = [network(x) for network in self.networks]
        own, *self.others = logits
        return own


class MutualLearning:
    """The guide of ``Peers`` in a training loop."""

    def __init__(self) -> None:
        self._peers: Peers | None = None

    def prepare(self, device: torch.device) -> None:
        """Do nothing: the training moves the peers itself."""

    @contextmanager
    def attached(self, student: nn.Module) -> Iterator[None]:
        """Teach these peers inside the block.

        Raises:
            TypeError: when the student is one network.
        """
        if not isinstance(student, Peers):
            raise TypeError(f"{type(student).__name__} has no peers to learn from")
        self._peers = student
        try:
            yield
        finally:
            student.others, self._peers = [], None

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits of the other networks in the step's pass: shape (K - 1, b, classes)."""
        assert self._peers is not None
        others = self._peers.others
        return torch.stack(others) if others else inputs.new_zeros(0)

    def mix(self, on_labels: LabelLoss, logits: Tensor, wanted: Tensor) -> Tensor:
        """The loss of the first network; its gradient holds those of all networks' losses."""
        own, *others = mutual_losses(on_labels, [logits, *wanted])
        # Only the gradient of the others counts: the recorded loss is that of the first network.
        return own + sum((each - each.detach() for each in others), torch.zeros_like(own))

    def take_step(self, factor: float) -> None:
        """Do nothing: the optimiser trains all peers."""


def mutual_losses(on_labels: LabelLoss, logits: Sequence[Tensor]) -> list[Tensor]:
    """The loss of each network, whose gradient reaches this network alone.

    Args:
        logits: one tensor of shape (b, classes) for each network.
    """
    losses = []
    for place, own in enumerate(logits):
        others = [other.detach() for j, other in enumerate(logits) if j != place]
        apart = [soft_loss(own, other, 1.0) for other in others]
        loss = on_labels(own)
        losses.append(loss + torch.stack(apart).mean() if apart else loss)
    return losses
