"""Stage ``clustered``: shared weights with Huffman codes (Deep Compression, Han et al. 2016).

Idea: the weights of a layer form k clusters; each weight becomes the mean of its cluster. A file
stores the k values and an index for each weight, as a Huffman code.

Formula: k-means minimises the sum of (w - c(w))² over the k centres c. The centres start evenly
spaced between the least and the largest weight ("linear initialisation", section 3.2), so that
large weights keep centres of their own. k is 256 for a convolution and 32 for a linear layer.
Biases and batch norms stay as they are. The paper also prunes weights and trains the centres on;
here, PFA removes filters before.

Cost: 7 to 10 seconds on one core for a VGG-16 with 15 million weights. k-means sees a histogram
of 2^14 bins, each at the mean of its weights; then every weight goes to its nearest centre. A layer
with at most k distinct weights loses nothing.

When it does not help: it saves bytes only. The file is read back as float32 weights, and the
network computes as before: neither faster nor with less memory. A layer with few weights for its
k centres hardly gets smaller.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from workbench.deployment.quantisation.huffman import code_lengths, entropy, mean_length
from workbench.deployment.quantisation.packed_tensors import SharedWeights
from workbench.deployment.quantisation.packed_weights import (
    coded_layers,
    state_bytes,
    weight_array,
    write_packed,
)
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_types import StageReport, TrainedNetwork

_CLUSTERS_OF_CONVOLUTIONS, _CLUSTERS_OF_LINEAR_LAYERS = 256, 32
_BINS = 1 << 14  # of the histogram
_TOLERANCE = 1e-6  # share of the variance: the centres move less in a step when k-means ends


def make_clustered(
    trained: TrainedNetwork, settings: DeploymentSettings, path: Path
) -> StageReport:
    """Write a packed file with shared weights.

    Args:
        settings: has no option for this stage.

    Returns:
        In its details: the file's ``bytes``, the ``float32_bytes`` of the state dict, and over all
        clustered weights the ``entropy`` and ``mean_bits``, both in bits a weight; ``layers`` has
        the ``name``, ``clusters`` and ``bits`` (a weight) of each layer.

    Raises:
        OSError: when the file cannot be written.
    """
    packed = {
        f"{name}.weight": cluster(weight_array(layer), _clusters(layer))
        for name, layer in coded_layers(trained.network).items()
    }
    write_packed(path, trained.card, trained.network, packed)
    layers = [_measured(name, tensor) for name, tensor in packed.items()]
    weights = max(1, sum(layer["weights"] for layer in layers))
    details: dict[str, Any] = {
        "bytes": path.stat().st_size,
        "float32_bytes": state_bytes(trained.network),
    }
    for total, of_layer in (("entropy", "entropy"), ("mean_bits", "bits")):
        details[total] = sum(layer["weights"] * layer[of_layer] for layer in layers) / weights
    details["layers"] = [
        {key: layer[key] for key in ("name", "clusters", "bits")} for layer in layers
    ]
    return StageReport(details=details)


def _clusters(layer: nn.Module) -> int:
    linear = isinstance(layer, nn.Linear)
    return _CLUSTERS_OF_LINEAR_LAYERS if linear else _CLUSTERS_OF_CONVOLUTIONS


def _measured(name: str, tensor: SharedWeights) -> dict[str, Any]:
    counts = tensor.counts()
    return {
        "name": name.removesuffix(".weight"),
        "weights": len(tensor.indices),
        "clusters": len(tensor.codebook),
        "entropy": entropy(counts),
        "bits": mean_length(counts, code_lengths(counts)),
    }


def cluster(weights: NDArray[np.float32], clusters: int) -> SharedWeights:
    """Replace each weight by the mean of its cluster.

    Args:
        weights: any shape, finite.
        clusters: number of clusters, in [1, 256]; fewer are used when they are empty, or when
            there are fewer distinct weights, which are then unchanged.
    """
    flat = weights.reshape(-1)
    centres = _centres(*_histogram(flat), clusters)
    # Ties go to the lower centre, for every weight alike.
    nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, flat).astype(np.uint8)
    members = np.bincount(nearest, minlength=len(centres))
    used = np.flatnonzero(members)
    # In float64, so that the mean of equal weights is this weight again.
    means = np.bincount(nearest, weights=flat, minlength=len(centres))[used] / members[used]
    renumbered = np.zeros(len(centres), dtype=np.uint8)
    renumbered[used] = np.arange(len(used))
    return SharedWeights(weights.shape, means.astype(np.float32), renumbered[nearest])


def _histogram(flat: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points and their counts: the distinct weights, or the means of bins if these are fewer."""
    if len(np.unique(flat[: 4 * _BINS])) <= _BINS:  # spares sorting millions of weights
        values, counts = np.unique(flat, return_counts=True)
        if len(values) <= _BINS:
            return values.astype(np.float64), counts
    low, high = float(flat.min()), float(flat.max())
    place = (flat.astype(np.float64) - low) * (_BINS / (high - low))
    bins = np.minimum(place, _BINS - 1).astype(np.int64)
    counts = np.bincount(bins, minlength=_BINS)
    sums = np.bincount(bins, weights=flat, minlength=_BINS)
    return sums[counts > 0] / counts[counts > 0], counts[counts > 0]


def _centres(
    points: NDArray[np.float64], counts: NDArray[np.int64], clusters: int
) -> NDArray[np.float64]:
    """Centres of k-means in ascending order; the points if they are no more than the clusters."""
    if len(points) <= clusters:
        return points
    from sklearn.cluster import KMeans

    # Within [0, 1], so that squares of tiny distances do not become 0.
    low, span = points[0], points[-1] - points[0]
    start = np.linspace(0, 1, clusters)[:, None]
    means = KMeans(clusters, init=start, n_init=1, tol=_TOLERANCE)
    means.fit((points[:, None] - low) / span, sample_weight=counts)
    centres: NDArray[np.float64] = np.sort(means.cluster_centers_[:, 0]) * span + low
    return centres
