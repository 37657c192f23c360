"""Stage ``sparse``: the smallest weights become 0 while the network is fine-tuned.

Idea: a trained network has many small weights. They are removed step by step, and the others
adapt (Han et al., NeurIPS 2015). All layers share one threshold, so a layer with small weights
loses more.

Formula: after step t of the first T steps, the share s_t = s_f + (s_i - s_f)(1 - t/T)³ of all
weights of convolutions and linear layers is 0, with s_i = 0 and s_f = ``--mask-sparsity`` (Zhu &
Gupta, 2017). T is two thirds of the steps; the mask then stays. Until then it is renewed, by
magnitude, every T/20 steps (rounded down). The loss is the cross-entropy. SGD with Nesterov's
momentum 0.9 starts at rate 0.03 and falls to 0 along a cosine, with batches of 32 images and
without augmentation. All seeds are fixed.

Cost: ``--mask-epochs`` epochs of training in float32 on the CPU: minutes for a VGG-16. With
sparsity 0, nothing is trained, and the file contains the unchanged network.

When it does not help: it saves bytes only. The file is read back as dense float32 weights, and
convolutions of dense weights do not skip zeros: neither faster nor with less memory. A compressed
network has fewer weights to spare than the full one. At a high sparsity one threshold can empty a
layer, which the record of the stage shows.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from torch import nn

from workbench.deployment.masks.magnitude_masks import fix_masks, remove_smallest
from workbench.deployment.masks.sparse_files import write_sparse
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_training import (
    StagePlan,
    estimate_norms_for_stage,
    fixed_random_numbers,
    sgd,
    train_for_stage,
)
from workbench.deployment.stage_types import StageReport, TrainedNetwork

_RATE = 0.03
_RAMP = 2 / 3  # share of the steps in which the sparsity grows
_MASKS = 20  # at least; one per step in a shorter ramp


def make_sparse(trained: TrainedNetwork, settings: DeploymentSettings, path: Path) -> StageReport:
    """Prune and fine-tune a network, and write it as a packed file.

    Args:
        settings: ``mask_sparsity`` and ``mask_epochs`` apply.

    Returns:
        Details hold the ``losses`` of the epochs, and those of ``sparse_files.write_sparse``.

    Raises:
        TrainingError: when the loss is no longer a finite number.
        OSError: when the file cannot be written.
    """
    network = deepcopy(trained.network)
    losses = _prune(network, trained, settings) if settings.mask_sparsity else []
    details = write_sparse(network, trained.card, path)
    return StageReport(details={"losses": losses, "learning_rate": _RATE, **details})


def _prune(
    network: nn.Module, trained: TrainedNetwork, settings: DeploymentSettings
) -> list[float]:
    """Train a network in place while its weights are removed; return the mean losses."""

    def renew_mask(step: int, steps: int) -> None:
        share = gradual_sparsity(step, steps, settings.mask_sparsity)
        if share is not None:
            remove_smallest(network, share)

    optimizer = sgd(list(network.parameters()), _RATE)
    plan = StagePlan(
        "sparse", settings.mask_epochs, _RATE, optimizer, "use a lower --mask-sparsity"
    )
    with fixed_random_numbers():
        losses = train_for_stage(
            network.train(), trained.train, trained.card, plan, before_step=renew_mask
        )
        remove_smallest(
            network, settings.mask_sparsity
        )  # a training of few steps has not reached it
        fix_masks(network)
        estimate_norms_for_stage(network, trained.train, trained.card)
    return losses


def gradual_sparsity(step: int, steps: int, final: float) -> float | None:
    """The share of weights to remove before a step; None where the mask stays.

    Args:
        step: from 0.
        final: the share at the end of the ramp.
    """
    ramp = max(1, round(_RAMP * steps))
    if step > ramp or (step % max(1, ramp // _MASKS) and step != ramp):
        return None
    return final - final * (1 - step / ramp) ** 3
