"""Packed files of networks whose weights are mostly 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from workbench.deployment.quantisation.packed_weights import (
    coded_layers,
    state_bytes,
    weight_array,
    write_packed,
)
from workbench.deployment.quantisation.sparse_tensors import SparseWeights
from workbench.models.weight_files import Card


def write_sparse(network: nn.Module, card: Card, path: Path) -> dict[str, Any]:
    """Write a network; a layer that would not get smaller stays as it is.

    Args:
        network: without masks; its removed weights are 0.

    Returns:
        The file's ``bytes``, the ``float32_bytes`` of the state dict, the ``sparsity`` over all
        weights of convolutions and linear layers, and for each layer in ``layers`` its ``name``,
        its ``weights`` and how many of them are ``kept``.

    Raises:
        OSError: when the file cannot be written.
    """
    packed: dict[str, SparseWeights] = {}
    layers: list[dict[str, Any]] = []
    for name, layer in coded_layers(network).items():
        weights = weight_array(layer)
        tensor = SparseWeights.of(weights)
        if tensor.bytes < weights.nbytes:
            packed[f"{name}.weight"] = tensor
        kept = int(np.count_nonzero(weights))
        layers.append({"name": name, "weights": weights.size, "kept": kept})
    write_packed(path, card, network, packed)
    every = max(1, sum(layer["weights"] for layer in layers))
    return {
        "bytes": path.stat().st_size,
        "float32_bytes": state_bytes(network),
        "sparsity": 1 - sum(layer["kept"] for layer in layers) / every,
        "layers": layers,
    }
