"""Orthogonality penalty on the weights (method card; Defensive Quantization, Lin et al. 2019).

Idea: a layer whose weight matrix has large singular values amplifies small changes of its input,
so noise, rounding and adversarial changes grow from layer to layer. The penalty keeps the singular
values near 1.
Formula: the loss gets (beta / 2) * sum over the layers of ||W W^T - I||_F^2. W has one row per
filter, and the inputs times the kernel as columns. Where W has more rows than columns, its rows
cannot be orthogonal, and W^T W - I is used: it is smaller by the constant rows - columns, so the
gradient, 2 beta (W W^T - I) W up to the same constant, does not change. Each group of a grouped
convolution has a matrix of its own, so a depthwise filter only gets the length 1. The last
convolution or linear layer that a network defines, its classifier, is left out, and so are
transposed convolutions.
Cost: one matrix product per layer and step, whatever the batch size.
When it does not help: batch norm and ReLU follow the layers and are not part of the bound, so the
network may still amplify changes. Weight decay pulls the same singular values to 0. A value of beta
that is too large costs accuracy. It is not a proven defence; measure its effect with
``--attack``.
Measured with VGG-16 at 10 % of the FLOPs on R1 (4 seeds, docs/small-networks.md): with 0.01, FGSM
of 4 / 255 leaves 29 % instead of 21 %, at 86 % without an attack; with 0.001, no difference is
significant.

Lin, Gan, Han, "Defensive Quantization: When Efficiency Meets Robustness", ICLR 2019 (arXiv
1904.08444). The paper's value of beta could not be checked, so there is no default but 0. In the
paper, activations are quantised during this training; here, ``int8`` and ``int8-qat`` follow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from workbench.training.gates.gated_network import GatedNetwork
from workbench.training.mutual_learning import Peers

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def penalised_layers(model: nn.Module) -> dict[str, int]:
    """The layers with a penalty: their names, and the number of groups of each.

    The networks of mutual learning have one classifier each. Gates have none, and a network that
    is trained beside them is left out.
    """
    inner: dict[str, nn.Module] = {}
    if isinstance(model, GatedNetwork):
        inner = {"network": model.network}
    elif isinstance(model, Peers):
        inner = {f"networks.{number}": peer for number, peer in enumerate(model.networks)}
    if inner:
        return {
            f"{prefix}.{name}": groups
            for prefix, network in inner.items()
            for name, groups in penalised_layers(network).items()
        }
    found = {
        name: part.groups if isinstance(part, _CONVOLUTIONS) else 1
        for name, part in model.named_modules()
        if isinstance(part, (*_CONVOLUTIONS, nn.Linear))
    }
    return dict(list(found.items())[:-1])


def penalty(weights: Iterable[tuple[Tensor, int]]) -> Tensor:
    """Half the sum over the layers of ||W W^T - I||_F^2, a number.

    Args:
        weights: at least one weight, shape (filters, inputs, ...), with its number of groups.
    """
    return torch.stack([_excess(weight, groups) for weight, groups in weights]).sum()


def weights_of(model: nn.Module, layers: Mapping[str, int]) -> list[tuple[Tensor, int]]:
    """The present weights of ``penalised_layers``, as ``penalty`` takes them."""
    weights = []
    for name, groups in layers.items():
        weight = model.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        weights.append((weight, groups))
    return weights


def _excess(weight: Tensor, groups: int) -> Tensor:
    matrix = weight.reshape(groups, len(weight) // groups, -1)
    rows, columns = matrix.shape[-2:]
    product = matrix @ matrix.mT if rows <= columns else matrix.mT @ matrix
    identity = torch.eye(min(rows, columns), dtype=weight.dtype, device=weight.device)
    return 0.5 * (product - identity).square().sum()
