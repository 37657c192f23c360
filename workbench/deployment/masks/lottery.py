"""Stage ``lottery``: the weights that a trained network needs, trained again from the start.

Idea: a trained network shows which of its weights matter. The lottery ticket hypothesis (Frankle &
Carbin, ICLR 2019) says that these weights alone, trained from their values before the training,
reach the accuracy of the whole network.

Method: iterative magnitude pruning. In each of n rounds the smallest remaining weights of all
convolutions and linear layers together are masked. All weights, biases and norms then get the
values from which the protocol started, bit by bit, and the network is trained again with the mask,
exactly as the protocol trains it: its plan, seed, teacher, processor and precision. For
full-scratch the start is random as in the paper; for full-fine it is the source network.

Formula: each round keeps the same share of the remaining weights: after round i of n the share
1 - (1 - s)^(i/n) is masked, with s = ``--mask-sparsity``. The paper removes 20 % a round, which
would be 10 rounds for s = 0.9; the default of 5 removes 37 %.

Cost: ``--lottery-rounds`` times the training of the protocol: for a VGG-16 on a CPU, many minutes.
With sparsity 0, nothing is trained, and the file contains the unchanged network.

When it does not help: the bytes are those of ``sparse``, which costs less. It computes with dense
weights, neither faster nor with less memory. Large networks and large rates need a rewind to an
early epoch instead of the start (Frankle et al., ICML 2020), which is not offered.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

from torch import Tensor, nn

from workbench.deployment.masks.magnitude_masks import (
    fix_masks,
    masks_of,
    put_masks,
    remove_smallest,
)
from workbench.deployment.masks.sparse_files import write_sparse
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_types import Rewind, StageReport, TrainedNetwork


def make_lottery(trained: TrainedNetwork, settings: DeploymentSettings, path: Path) -> StageReport:
    """Find a lottery ticket of a network, train it, and write it as a packed file.

    Args:
        settings: ``mask_sparsity`` and ``lottery_rounds`` apply.

    Returns:
        Details hold the ``rounds``, the masked shares after each, and those of
        ``sparse_files.write_sparse``.

    Raises:
        TrainingError: when the loss is no longer a finite number.
        OSError: when the file cannot be written.
    """
    rewind = trained.rewind
    assert rewind is not None  # the stage ``rewinds``
    network = deepcopy(trained.network)
    shares = (
        masked_shares(settings.mask_sparsity, settings.lottery_rounds)
        if settings.mask_sparsity
        else []
    )
    for share in shares:
        remove_smallest(network, share)
        network = ticket(rewind, masks_of(network))
        rewind.train(network)
    fix_masks(network)
    details = write_sparse(network.eval(), trained.card, path)
    return StageReport(details={"rounds": len(shares), "masked_shares": shares, **details})


def masked_shares(sparsity: float, rounds: int) -> list[float]:
    """The masked share of the weights after each round; the last one is exactly ``sparsity``."""
    kept = 1 - sparsity
    return [1 - kept ** (number / rounds) for number in range(1, rounds)] + [sparsity]


def ticket(rewind: Rewind, masks: Mapping[str, Tensor]) -> nn.Module:
    """The network that the training started from, with masks.

    Args:
        masks: from ``magnitude_masks.masks_of``.
    """
    network = rewind.make()
    put_masks(network, masks)
    return network
