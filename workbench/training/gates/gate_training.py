"""Gates in the training loop: what computes their loss and updates them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from workbench.compression.groups.structure import Structure
from workbench.models.networks import place
from workbench.training.distillation import LabelLoss
from workbench.training.gates import GateMethod
from workbench.training.gates.gated_network import GatedNetwork, Shape, insert_gates
from workbench.training.plans import derive_seed


def gated(
    network: nn.Module,
    structure: Structure,
    shape: Shape,
    method: GateMethod,
    classes: int,
    *,
    seed: int,
) -> GatedNetwork:
    """Put the gates of a method into a network.

    Args:
        network: the full network; it becomes a part of the result.
        structure: its filter groups.
        shape: channels, height, width of an image.
        classes: number of its logits.
        seed: of the initial gates.

    Raises:
        NetworkError: when a gate cannot be multiplied into the network.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "gates"))
    critic = method.make_critic(classes, generator) if method.make_critic else None
    return insert_gates(
        network, structure, shape, lambda filters: method.make_gate(filters, generator), critic
    )


@dataclass(frozen=True, eq=False)
class GateTraining:
    """The guide of a ``GatedNetwork`` in a training loop.

    Attributes:
        method: how the gates are trained.
        penalty: on open gates.
        steps: of the whole training.
        reference: the network without gates, if the method compares with it.
    """

    method: GateMethod
    penalty: float
    steps: int
    reference: nn.Module | None = None
    _students: list[GatedNetwork] = field(default_factory=list, init=False, repr=False)

    def prepare(self, device: torch.device) -> None:
        """Move the network without gates to the device of the training."""
        if self.reference is not None:
            place(self.reference, device).eval()

    @contextmanager
    def attached(self, student: nn.Module) -> Iterator[None]:
        """Train the gates of this network inside the block.

        Raises:
            TypeError: when it has none.
        """
        if not isinstance(student, GatedNetwork):
            raise TypeError(f"{type(student).__name__} has no gates to train")
        self._students.append(student)
        try:
            yield
        finally:
            self._students.clear()

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits of the network without gates, shape (b, classes); empty if not needed."""
        if self.reference is None:
            return inputs.new_zeros(0)
        with torch.no_grad():
            answers: Tensor = self.reference(inputs)
        return answers

    def mix(self, on_labels: LabelLoss, logits: Tensor, wanted: Tensor) -> Tensor:
        """The loss of the method."""
        (student,) = self._students
        return self.method.loss(student, on_labels, logits, wanted, self.penalty)

    def take_step(self, factor: float) -> None:
        """Update the gates, and hide their gradients from the optimiser of the weights."""
        (student,) = self._students
        self.method.take_step(student, factor / self.steps, self.penalty, self.steps)
        for gate in student.own:
            for value in gate.parameters():
                value.grad = None
