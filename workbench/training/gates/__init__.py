"""Methods that train gates in the full network before filters are removed, one file each.

``gated_network`` puts one gate per filter into a network and multiplies the trained gates into its
weights. ``gate_training`` trains them in the loop of all networks. A new method needs one file
here, its line in the table, and its name in ``compression.method_names``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench.training.distillation import LabelLoss
from workbench.training.gates import gal, vib
from workbench.training.gates.gated_network import Gate, GatedNetwork


@dataclass(frozen=True)
class GateMethod:
    """How a method trains gates.

    Attributes:
        make_gate: makes the gates of a filter group, from its number of filters.
        loss: the loss of a step, from the gated network, the loss on the labels, its logits, those
            of the network without gates (empty without ``compares``) and the penalty.
        take_step: updates the gates from their gradients; called with the gated network, the share
            of this step in the whole training times the present factor of the learning rate, the
            penalty, and the number of steps of the training.
        penalty: the default of ``--gate-penalty``.
        compares: whether the network without gates is needed.
        make_critic: makes a further network to train, from the number of classes; None without one.
        penalised_loss: whether the penalty is a part of the loss, which it can make infinite.
        revision: counts the changes of what the training computes; a part of its key unless 0.
    """

    make_gate: Callable[[int, torch.Generator], Gate]
    loss: Callable[[GatedNetwork, LabelLoss, Tensor, Tensor, float], Tensor]
    take_step: Callable[[GatedNetwork, float, float, int], None]
    penalty: float
    compares: bool = False
    make_critic: Callable[[int, torch.Generator], nn.Module] | None = None
    penalised_loss: bool = False
    revision: int = 0


#: By the name of the method in ``compression.method_names.GATES``.
GATE_METHODS: dict[str, GateMethod] = {
    "vib": GateMethod(
        vib.make_gate,
        vib.loss,
        vib.take_step,
        vib.PENALTY,
        penalised_loss=True,
        revision=vib.REVISION,
    ),
    "gal": GateMethod(
        gal.make_gate,
        gal.loss,
        gal.take_step,
        gal.PENALTY,
        compares=True,
        make_critic=gal.make_critic,
        revision=gal.REVISION,
    ),
}
