"""Stage ``supermask``: a learned choice of the weights from which the training started.

Idea: a network contains an accurate smaller one whose weights need no training. It is enough to
learn which weights to keep (Zhou et al., NeurIPS 2019). Each weight has a score; the weights with
the largest scores are kept (edge-popup: Ramanujan et al., CVPR 2020).

Formula: in each convolution and linear layer, w' = w m with m = 1 for the round((1 - s) n) largest
scores of its n weights (at least one), else 0. The gradient passes the choice unchanged (straight
through): dL/dscore = w dL/dw'. w and all biases, scales and shifts stay as they were before the
protocol's training; only scores are trained. A score starts at |w|, divided by its mean in the
layer, so the first choice is that of the largest magnitudes; the paper starts from random scores,
which needs many more epochs. Scores below 0 rank last; the authors' code ranks by absolute values.
Statistics of batch norms follow the masks, and are measured anew at the end. SGD with Nesterov's
momentum 0.9 starts at rate 30 and falls to 0 along a cosine, with batches of 32 images and without
augmentation. All seeds are fixed.

Cost: ``--mask-epochs`` epochs on the CPU, each slower than that of a training because every step
sorts the scores: minutes for a VGG-16.

When it does not help: a start from random weights needs a wide network and many epochs. The file is
as large as that of ``sparse``, whose weights are trained. It computes with dense weights, neither
faster nor with less memory.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from workbench.deployment.masks.sparse_files import write_sparse
from workbench.deployment.quantisation.packed_weights import coded_layers
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_training import (
    StagePlan,
    estimate_norms_for_stage,
    fixed_random_numbers,
    sgd,
    train_for_stage,
)
from workbench.deployment.stage_types import StageReport, TrainedNetwork

_RATE = 30.0


def make_supermask(
    trained: TrainedNetwork, settings: DeploymentSettings, path: Path
) -> StageReport:
    """Learn a mask of a network's starting weights, and write it as a packed file.

    Args:
        settings: ``mask_sparsity`` and ``mask_epochs`` apply.

    Returns:
        Details hold the ``losses`` of the epochs, and those of ``sparse_files.write_sparse``.

    Raises:
        TrainingError: when the loss is no longer a finite number.
        OSError: when the file cannot be written.
    """
    assert trained.rewind is not None  # the stage ``rewinds``
    network = deepcopy(trained.network)
    network.load_state_dict(trained.rewind.make().state_dict())
    scores = put_scores(network.requires_grad_(False), settings.mask_sparsity)
    plan = StagePlan(
        "supermask", settings.mask_epochs, _RATE, sgd(scores, _RATE), "use the stage sparse"
    )
    with fixed_random_numbers():
        losses = train_for_stage(network.train(), trained.train, trained.card, plan)
        fix_choice(network)
        estimate_norms_for_stage(network, trained.train, trained.card)
    details = write_sparse(network, trained.card, path)
    return StageReport(details={"losses": losses, "learning_rate": _RATE, **details})


def put_scores(network: nn.Module, sparsity: float) -> list[nn.Parameter]:
    """Give each weight of convolutions and linear layers a score, in place; return the scores."""
    layers = {id(layer): layer for layer in coded_layers(network).values()}
    scores = []
    for layer in layers.values():
        weight = layer.weight
        assert isinstance(weight, Tensor)
        chosen = Chosen(weight, max(1, round((1 - sparsity) * weight.numel())))
        parametrize.register_parametrization(layer, "weight", chosen)
        scores.append(chosen.scores)
    return scores


def fix_choice(network: nn.Module) -> None:
    """Set the weights that are not chosen to 0 and remove the scores, in place."""
    for layer in list(network.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight")


class Chosen(nn.Module):
    """The weights with the largest scores; all others are 0.

    Args:
        weight: the weights of the layer.
        count: number of weights to keep.
    """

    def __init__(self, weight: Tensor, count: int) -> None:
        super().__init__()
        size = weight.detach().abs()
        self.scores = nn.Parameter(size / size.mean().clamp_min(torch.finfo(size.dtype).tiny))
        self.count = count

    def forward(self, weight: Tensor) -> Tensor:
        """The layer's weight; at equal scores, torch's order decides."""
        chosen: Tensor = _Largest.apply(self.scores, self.count)
        return weight * chosen


class _Largest(torch.autograd.Function):
    """1 for the largest scores and 0 elsewhere; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, count: int) -> Tensor:
        chosen = torch.zeros_like(scores).reshape(-1)
        chosen[scores.reshape(-1).topk(count, sorted=False).indices] = 1
        return chosen.reshape(scores.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None
