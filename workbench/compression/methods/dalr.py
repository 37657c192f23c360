"""DALR: two thin layers in place of one, from the outputs on the target (method card).

Idea: on the target, the outputs of a layer lie near a subspace. The layer computes only its
coordinates there, and a pointwise layer maps them back. All filters stay, so layers can
be replaced whose filters cannot be removed, such as those of residual streams.
Formula: C = cov(y) over all positions, U its k first eigenvectors, m the mean. A layer with the
weights U'W (k filters, no bias), then a pointwise one with the weights U and the bias
m + UU'(b - m). The mean squared error on these outputs is the sum of the discarded eigenvalues, the
smallest possible one for k filters. The rank k is PFA-KL's keep count of this spectrum (``dalr``),
or PFA-En's (``dalr-en``); a budget scales the ranks, or searches the energy.
Cost: one pass over the target's images and one covariance for each layer. The covariances are not
stored: trainings in another process measure them again.
When it does not help: it saves parameters only where k(d + n) is less than n d, for n filters with
d weights. In many pointwise layers this is never the case. Each replaced layer adds a layer to the
depth, so latency falls less than the FLOPs. A batch norm after the layer keeps its statistics.

Masana et al., "Domain-adaptive deep network compression", ICCV 2017, for fully connected layers;
Zhang et al. 2015 (response reconstruction) for convolutions. The ranks by PFA are ours. The paper
takes second moments without the mean and then corrects the bias; here the mean is subtracted first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.compression.factorisation import algebra
from workbench.compression.factorisation.algebra import Array, SizeChoices, TwoLayers
from workbench.compression.factorisation.factor_method import Moments
from workbench.compression.methods.uniform import rounded_up


def choices(weight: Array, moments: Moments) -> SizeChoices:
    """Ranks by the spectrum of the outputs' covariance."""
    assert moments is not None  # measured for methods that read outputs
    return algebra.response_choices(weight, moments.covariance)


def divergence_size(found: SizeChoices, threshold: float | None) -> int:
    """PFA-KL's rank; a threshold is a factor on it."""
    assert found.wanted is not None
    if threshold is None:
        return found.wanted
    return rounded_up(found.wanted * threshold, int(found.sizes[-1]))


def divergence_thresholds(every: Sequence[SizeChoices]) -> Array:
    """All factors at which the rank of a layer changes, ascending."""
    return np.unique(np.concatenate([found.sizes / (found.wanted or 1) for found in every]))


def weights(weight: Array, bias: Array | None, rank: int, moments: Moments) -> TwoLayers:
    """The projection onto the first principal directions of the outputs."""
    assert moments is not None
    return algebra.from_responses(weight, bias, moments.mean, moments.covariance, rank)
