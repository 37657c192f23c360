"""Find a network's filter groups by running it once and following its computation.

torch-pruning's dependency graph determines which layers are coupled and which indices correspond.
This module reads the graph once and stores the result as plain data (``structure``). The graph is
built from the operations that ran, including functional additions and concatenations, so no
symbolic tracing is needed. A network whose path depends on its input's values is rejected.

The result is verified: ``proof`` removes filters of every group from the network and compares the
outputs. A group that fails is not compressed, and the reason is recorded.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench.compression.groups.attention_heads import FIXED_HEADS, head_groups
from workbench.compression.groups.coupled_filters import coupled_parts
from workbench.compression.groups.forward_path import ForwardPath, noise, short, walk
from workbench.compression.groups.graph_layers import own_layers
from workbench.compression.groups.rebuild import (
    ChannelNorm,
    Convolution,
    computes_weights,
    is_depthwise,
    is_grouped,
)
from workbench.compression.groups.structure import (
    Cut,
    FilterGroup,
    Kind,
    ResponsePoint,
    Side,
    Structure,
)
from workbench.errors import NetworkError
from workbench.models.channel_scatter import Scatter
from workbench.models.kept_norms import can_keep

Shape = tuple[int, int, int]
_IMAGE_DIMS = 4
_CHANNEL_MIXERS = (nn.LayerNorm, nn.GroupNorm, nn.MultiheadAttention, nn.Embedding, nn.RNNBase)


def find_structure(model: nn.Module, shape: Shape) -> Structure:
    """Find the filter groups of a network.

    Args:
        model: any network with one image tensor as input and logits as output; it is not changed.
        shape: channels, height, width of an image.

    Raises:
        NetworkError: when the network does not run on such images, has nothing to compress,
            uses a layer twice, takes a different path for other images, or has no classifier.
    """
    from workbench.compression.groups.proof import prove

    if not any(isinstance(layer, (*Convolution, nn.Linear)) for layer in model.modules()):
        raise NetworkError(
            f"{type(model).__name__} has no convolution and no linear layer; there is nothing to "
            "compress"
        )
    traced = _copy(model).cpu().float().requires_grad_(True).eval()
    path = ForwardPath()
    graph = _dependency_graph(traced, shape, path)
    _check_path(traced, shape, path)
    finder = _Finder(graph, dict(traced.named_modules()), path)
    groups, classifiers, uncompressed = finder.find()
    if len(classifiers) != 1 or len(classifiers[0].layers) != 1:
        raise NetworkError(
            f"{type(model).__name__}: its outputs come from {len(classifiers)} layers; there must "
            "be one classifier with one output per class"
        )
    head = classifiers[0].name
    if computes_weights(traced.get_submodule(head)):
        raise NetworkError(
            f"{type(model).__name__}: its classifier '{head}' computes its weights, so its "
            "classes cannot be selected; make it a plain layer by "
            "torch.nn.utils.parametrize.remove_parametrizations"
        )
    if not groups:
        reasons = "; ".join(f"'{name}' {why}" for name, why in list(uncompressed.items())[:3])
        raise NetworkError(
            f"{type(model).__name__} has no layer with filters to remove besides its classifier"
            + (f": {reasons}" if reasons else "")
        )
    structure = Structure(
        tuple(groups), classifiers[0], uncompressed, tuple(path.layers), tuple(path.modules)
    )
    return prove(traced, structure, shape)


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:  # noqa: BLE001 - the user's network may raise anything
        raise NetworkError(
            f"{type(model).__name__}: cannot be copied ({short(error)}); use "
            "torch.nn.utils.parametrizations in place of the older weight_norm and spectral_norm"
        ) from None


# --- running the network -------------------------------------------------------------------


def _dependency_graph(model: nn.Module, shape: Shape, path: ForwardPath) -> Any:
    """Build torch-pruning's graph of the network, and record the modules that ran in ``path``."""
    import torch_pruning

    def forward(network: nn.Module, image: Tensor) -> Tensor:
        return walk(network, image, path)

    class Graph(torch_pruning.DependencyGraph):  # type: ignore[misc]
        def _build_dependency(self, module2node: Mapping[Any, Any]) -> None:
            # The graph treats every reshape as a flatten, but one that folds channels into two
            # dimensions (a channel shuffle) is not. As elementwise operations they fail the proof.
            for node in module2node.values():
                if node.grad_fn in path.folds:
                    node.type = torch_pruning.ops.OPTYPE.ELEMENTWISE
            super()._build_dependency(module2node)

    graph = Graph()
    try:
        with torch.enable_grad():
            graph.build_dependency(
                model,
                noise(shape),
                forward_fn=forward,
                customized_pruners=own_layers(),
                verbose=False,
            )
    except NetworkError:
        raise
    except Exception as error:  # noqa: BLE001 - the user's network may raise anything
        raise NetworkError(
            f"{type(model).__name__}: the layers' dependencies cannot be found "
            f"({type(error).__name__}: {short(error)})"
        ) from None
    return graph


def _check_path(model: nn.Module, shape: Shape, path: ForwardPath) -> None:
    """Check that every layer runs once, has its own weights, and runs on any image.

    Two artificial images are weak evidence for the last point, so ``watched_layers`` also compares
    the modules that run on real images.
    """
    twice = next((name for name in path.layers if path.layers.count(name) > 1), None)
    if twice:
        raise NetworkError(
            f"layer '{twice}' runs more than once in a forward pass; layers with shared weights "
            "cannot be narrowed"
        )
    owners: dict[int, str] = {}
    for name in path.layers:
        for weight in _held_weights(model.get_submodule(name)):
            if id(weight) in owners:
                raise NetworkError(
                    f"layers '{owners[id(weight)]}' and '{name}' share their weights and cannot be "
                    "narrowed; give each its own"
                )
            owners[id(weight)] = name
    again = ForwardPath()
    with torch.no_grad():
        walk(model, torch.full((2, *shape), -1.0), again)
    if (again.modules, again.places) != (path.modules, path.places):
        raise NetworkError(
            f"{type(model).__name__}: which layers run depends on the image's values; such control "
            "flow cannot be traced"
        )


def _held_weights(layer: nn.Module) -> list[nn.Parameter]:
    """The parameter that is a layer's weight, or the parameters from which it is computed."""
    own = layer._parameters.get("weight")
    if own is not None:
        return [own]
    return [weight for name, weight in layer.named_parameters() if name != "bias"]


# --- reading the graph ---------------------------------------------------------------------


@dataclass
class _Finder:
    """Turns the dependency graph into filter groups."""

    graph: Any
    modules: Mapping[str, nn.Module]
    path: ForwardPath

    def find(self) -> tuple[list[FilterGroup], list[FilterGroup], dict[str, str]]:
        """The groups, the groups that feed the network's output, and the uncompressed layers."""
        groups: list[FilterGroup] = []
        classifiers: list[FilterGroup] = []
        uncompressed: dict[str, str] = {}
        seen: set[str] = set()
        heads = head_groups(self.modules)
        for name in self.path.layers:
            if name in seen:
                continue
            if name in heads:
                seen.add(name)
                groups.append(heads[name])
                continue
            try:
                group, reason, is_output = self._read(name)
            except Exception as error:  # noqa: BLE001 - the graph may raise anything
                group, is_output = None, False
                reason = f"its dependencies cannot be followed ({short(error)})"
            members = group.layers if group else (name,)
            seen.update(members)
            if group and is_output:
                classifiers.append(group)
            elif reason:
                uncompressed.update(dict.fromkeys(members, reason))
            elif group:
                groups.append(group)
        uncompressed.update(
            (name, FIXED_HEADS)
            for name in self.path.modules
            if isinstance(self.modules[name], nn.MultiheadAttention)
        )
        return groups, classifiers, uncompressed

    def _read(self, name: str) -> tuple[FilterGroup, str | None, bool]:
        """A layer's group, the reason not to compress it or None, and whether it is the output."""
        layer = self.modules[name]
        names = {module: name for name, module in self.modules.items()}
        filters, each, found = coupled_parts(self.graph, layer)
        cuts: list[Cut] = []
        sums: dict[int, NDArray[np.int64]] = {}
        reason, is_output, blocks = None, False, 1
        kind: Kind = "filters" if each == 1 else "sets"
        for item in found:
            part, node, pairs = item.node.module, item.node, item.pairs
            if part in names:
                side: Side = "filters"
                if isinstance(part, (*Convolution, nn.Linear, Scatter)) and not is_depthwise(part):
                    side = "filters" if item.is_output else "inputs"
                cuts.append(Cut(names[part], side, pairs))
                kind = "embedding" if can_keep(part) else kind
                is_output |= side == "filters" and node.grad_fn is self.path.output
                reason = reason or _obstacle(part, names[part], side, pairs)
                if is_grouped(part):
                    blocks = math.lcm(blocks, part.groups)
            elif isinstance(part, nn.Parameter):
                kind = "embedding"
                cut = self._parameter_cut(self.graph._param_to_name[part], pairs, node)
                if all(cut.layer != other.layer for other in cuts):  # a norm has two parameters
                    cuts.append(cut)
            elif node.grad_fn is self.path.output:
                is_output = True
            elif node.grad_fn in self.path.sums:
                sums[self.path.sums.index(node.grad_fn)] = pairs
        if filters % blocks:
            reason = reason or f"its {filters} filters do not divide into {blocks} groups"
        layers = self._layers(cuts)
        group = FilterGroup(
            name, filters, layers, self._response(name, layers, cuts, sums, (filters, each)),
            blocks, tuple(cuts), kind,
        )  # fmt: skip
        return group, reason, is_output

    def _parameter_cut(self, name: str, pairs: NDArray[np.int64], node: Any) -> Cut:
        """The cut of a parameter, or of the norm that it belongs to."""
        owner = name.rpartition(".")[0]
        if can_keep(self.modules[owner]):
            return Cut(owner, "filters", pairs)
        return Cut(name, "filters", pairs, int(node.pruning_dim))

    def _layers(self, cuts: list[Cut]) -> tuple[str, ...]:
        own = {cut.layer for cut in cuts if cut.side == "filters"}
        return tuple(name for name in self.path.layers if name in own)

    def _response(
        self,
        name: str,
        layers: tuple[str, ...],
        cuts: list[Cut],
        sums: Mapping[int, NDArray[np.int64]],
        sizes: tuple[int, int],
    ) -> ResponsePoint:
        """The last addition, else the last depthwise output, else the layer's own output."""
        for number in sorted(sums, reverse=True):
            channels = _channels(sums[number], sizes)
            if channels is not None:
                shape = self.path.shapes[number]
                is_last = len(shape) < _IMAGE_DIMS or shape[1] != math.prod(sizes) == shape[-1]
                return ResponsePoint(
                    None, number, self.path.places[number], channels, channels_last=is_last
                )
        for other in reversed(layers):
            if is_depthwise(self.modules[other]):
                pairs = next(cut.pairs for cut in cuts if cut.layer == other)
                channels = _channels(pairs, sizes)
                if channels is not None:
                    return ResponsePoint(other, channels=channels)
        own = next(cut.pairs for cut in cuts if (cut.layer, cut.side) == (name, "filters"))
        return ResponsePoint(name, channels=_channels(own, sizes) or ())


def _obstacle(part: nn.Module, name: str, side: Side, pairs: NDArray[np.int64]) -> str | None:
    """The reason why filters that reach this layer cannot be removed, or None."""
    kind = type(part).__name__
    if computes_weights(part):
        return f"is coupled with '{name}' ({kind}), which computes its weights"
    if isinstance(part, _CHANNEL_MIXERS) and not can_keep(part):
        what = "attends over" if isinstance(part, nn.MultiheadAttention) else "averages over"
        return f"feeds '{name}' ({kind}), which {what} its channels"
    if isinstance(part, Scatter):
        return None if side == "inputs" else f"feeds the stream of '{name}', which keeps its width"
    if not isinstance(part, (*Convolution, nn.Linear, *ChannelNorm, nn.PReLU)) and not can_keep(
        part
    ):
        return f"feeds '{name}' ({kind}), which cannot be narrowed"
    if is_grouped(part) and not np.array_equal(pairs[:, 0], pairs[:, 1]):
        return f"feeds only some groups of the grouped convolution '{name}'"
    return None


def _channels(pairs: NDArray[np.int64], sizes: tuple[int, int]) -> tuple[int, ...] | None:
    """The channels of each filter; None unless all have the number that belongs to the group.

    Args:
        pairs: filter, channel.
        sizes: number of filters, channels of each.
    """
    filters, each = sizes
    if len(pairs) != filters * each or set(np.bincount(pairs[:, 0])) != {each}:
        return None
    return tuple(int(channel) for channel in pairs[np.lexsort((pairs[:, 1], pairs[:, 0])), 1])
