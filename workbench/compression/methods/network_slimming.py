"""Network slimming: the scales of batch norms, one threshold for all layers (method card).

Idea: train the source with an L1 penalty on the scales of its batch norms; those that the penalty
drives to nothing show which filters it does not need.
Formula: s_i = |gamma_i|. The filters of all layers are ranked together and the largest stay, of
equal ones those of earlier layers, so the ranking says both how many a layer keeps and which.
Source training: loss + lambda sum |gamma|, lambda 1e-4 as for the paper's VGG, 1e-5 for our
residual networks as for the paper's; networks from elsewhere get 1e-4, whatever they are. The
paper's scales start at 0.5, ours at 1, as torch's do.
Cost: the source has to be trained for it (``workbench train --sparsity 1e-4``); then nothing.
When it does not help: with weights that were not trained so, the scales of different layers
cannot be compared; one threshold may leave a layer with a single filter; and it knows nothing
of the target. A layer without batch norm is an error.

Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017,
section 3. Where several batch norms follow the same filters, their mean counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.compression.evidence import Array, Evidence
from workbench.compression.recipe_options import RecipeOptions
from workbench.errors import NetworkError


def counts(evidence: Sequence[Evidence], options: RecipeOptions) -> list[int]:
    """Filters of each group among the threshold's share of the largest scales; at least one."""
    assert options.threshold is not None  # set by the budget
    every = [scores(group) for group in evidence]
    order = np.argsort(-np.concatenate(every), kind="stable")
    taken = np.zeros(len(order), dtype=bool)
    taken[order[: round(options.threshold * len(order))]] = True
    ends = np.cumsum([len(part) for part in every])
    return [max(1, int(part.sum())) for part in np.split(taken, ends[:-1])]


def thresholds(evidence: Sequence[Evidence], options: RecipeOptions) -> Array:
    """Shares of all filters, ascending, in (0, 1]: one filter more each."""
    filters = sum(group.group.filters for group in evidence)
    return np.arange(1, filters + 1) / filters


def scores(evidence: Evidence) -> Array:
    """Shape (n,): size of the scales; the largest stay.

    Raises:
        NetworkError: when no batch norm follows.
    """
    if evidence.scales is None:
        raise NetworkError(no_scales(evidence.group.name))
    return evidence.scales


def no_scales(layer: str) -> str:
    """What is wrong with a layer that no batch norm follows."""
    return (
        f"layer '{layer}' has no batch norm with scales, which network-slimming reads; take fp or "
        "fpgm"
    )
