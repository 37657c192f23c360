"""Describe the workbench's own layers to torch-pruning's dependency graph.

The graph is only read: the layers are cut by ``rebuild``.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from workbench.models.channel_scatter import Scatter
from workbench.models.kept_norms import KeptLayerNorm


def own_layers() -> dict[type[nn.Module], Any]:
    """The description of each layer, by its class."""
    import torch_pruning

    class ScatterPruner(torch_pruning.BasePruningFunc):  # type: ignore[misc]
        """Its inputs may be removed, its outputs not."""

        def prune_out_channels(self, layer: Scatter, idxs: Any) -> Scatter:
            return layer

        def prune_in_channels(self, layer: Scatter, idxs: Any) -> Scatter:
            return layer

        def get_out_channels(self, layer: Scatter) -> int:
            return layer.width

        def get_in_channels(self, layer: Scatter) -> int:
            return len(layer.index)

    class NormPruner(torch_pruning.BasePruningFunc):  # type: ignore[misc]
        """Its outputs are its inputs."""

        def prune_out_channels(self, layer: KeptLayerNorm, idxs: Any) -> KeptLayerNorm:
            return layer

        prune_in_channels = prune_out_channels

        def get_out_channels(self, layer: KeptLayerNorm) -> int:
            return layer.num_features

        def get_in_channels(self, layer: KeptLayerNorm) -> int:
            return layer.num_features

    return {Scatter: ScatterPruner(), KeptLayerNorm: NormPruner()}
