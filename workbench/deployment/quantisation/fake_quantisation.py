"""Networks that compute in float32 but round as an int8 file does (Jacob et al., CVPR 2018).

Idea: batch norms are folded into the convolutions before them. Then every weight and every input
and output of an int8 operator is rounded to the grid of its integers and back, r ≈ S(q - Z). A
gradient passes the rounding unchanged inside the grid's range and is 0 outside.

Weights have one scale a filter, S = max|w| / limit, which follows the weights during training.
Activations have one range a tensor, [low, high] with 0 inside, measured on batches: unsigned
integers with S = (high - low) / 255 and Z = round(-low / S), or signed ones with
S = max(-low, high) / 127 and Z = 0.

The limit is 127 for signed activations and 64 for unsigned ones. x86 processors without VNNI add
pairs of products in 16 bits: 2 · 255 · 64 = 32640 fits, 2 · 255 · 127 = 64770 is cut to 32767. On
such a processor, limit 127 moved the logits of MobileNet-v3-small by 25 % of the largest logit
between onnxruntime and the rounded network, and limit 64 by 5 %.

Operators are found in the graph of ``torch.export``, so a network needs no change. The ReLU after
an int8 operator shares its grid, because unsigned integers end at 0 as ReLU does; signed ones do
not, and the operator gets a grid before ReLU. Operators that only move values keep the grid of
their input, because a runtime then computes them on integers. SiLU becomes sigmoid and product, for
which runtimes have int8 operators.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

Node: TypeAlias = Any  # fx.Node: its arguments are typed as anything that a graph may hold
_ATEN = torch.ops.aten
_WEIGHTED = {_ATEN.conv1d, _ATEN.conv2d, _ATEN.conv3d, _ATEN.linear}
_INT8 = _WEIGHTED | {_ATEN.add, _ATEN.mul, _ATEN.cat, _ATEN.sigmoid, _ATEN.matmul}
#: Their output has only values of their input.
_MOVING = {
    _ATEN.max_pool2d, _ATEN.view, _ATEN._unsafe_view, _ATEN.reshape, _ATEN.flatten, _ATEN.permute,
    _ATEN.transpose, _ATEN.slice, _ATEN.select, _ATEN.squeeze, _ATEN.unsqueeze, _ATEN.expand,
    _ATEN.clone,
}  # fmt: skip
#: They are part of an int8 operator before them: the range of its output does the same.
_CLIPPING = {_ATEN.relu, _ATEN.hardtanh, _ATEN.relu6}
_MOMENTUM = 0.05  # weight of a batch in the moving average of a range


class WeightGrid(nn.Module):
    """Rounds a weight to int8 with one scale a filter.

    Attributes:
        limit: largest integer.
        rounds: whether values are rounded.
        fixed: the scales, shape (filters,), once ``fix`` was called.
    """

    fixed: Tensor | None

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.rounds = limit, False
        self.register_buffer("fixed", None)

    def scales(self, weight: Tensor) -> Tensor:
        """Scale of each filter, shape (filters,); 1 for a filter of zeros."""
        if self.fixed is not None:
            return self.fixed
        largest = weight.detach().flatten(1).abs().amax(1)
        return torch.where(largest > 0, largest / self.limit, torch.ones_like(largest))

    def fix(self, weight: Tensor) -> None:
        """Keep the scales of these weights from now on, as an exported file needs it."""
        self.fixed = self.scales(weight)

    def forward(self, weight: Tensor) -> Tensor:
        if not self.rounds:
            return weight
        scales = self.scales(weight)
        zeros = torch.zeros_like(scales, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -128, 127)


class ActivationGrid(nn.Module):
    """Rounds a tensor to 8 bits over a measured range.

    Attributes:
        signed: signed integers and zero point 0; otherwise unsigned ones.
        low, high: the range; it always contains 0.
        measures: whether batches move the range.
        rounds: whether values are rounded.
    """

    def __init__(self, signed: bool) -> None:
        super().__init__()
        self.signed = signed
        self.low = self.high = 0.0
        self.batches = 0
        self.measures, self.rounds = True, False

    def measure(self, values: Tensor) -> None:
        """Move the range to a batch: the mean of the first batches, then a moving average."""
        self.batches += 1
        share = max(1 / self.batches, _MOMENTUM)
        low, high = (float(edge) for edge in torch.aminmax(values.detach()))
        self.low += share * (min(low, 0.0) - self.low)
        self.high += share * (max(high, 0.0) - self.high)

    def grid(self) -> tuple[float, int, int, int]:
        """Scale, zero point, least and largest integer."""
        if self.signed:
            return max(-self.low, self.high) / 127 or 1.0, 0, -128, 127
        scale = (self.high - self.low) / 255 or 1.0
        return scale, round(-self.low / scale), 0, 255

    def forward(self, values: Tensor) -> Tensor:
        if self.measures:
            self.measure(values)
        return (
            torch.fake_quantize_per_tensor_affine(values, *self.grid()) if self.rounds else values
        )


def fake_quantised(network: nn.Module, images: Tensor, *, signed: bool) -> fx.GraphModule:
    """Rewrite a network with folded batch norms and a grid wherever an int8 file rounds.

    Args:
        network: in evaluation mode; it is not changed.
        images: two or more normalised images, float32, shape (b, c, h, w).
        signed: whether activations are signed.

    Returns:
        A network for batches of any size, whose parameters can be trained. Its grids measure
        ranges and do not round until ``set_grids`` changes that.
    """
    batch = ({0: torch.export.Dim.DYNAMIC},)
    # A program shares its parameters with the network, so export a copy.
    program = torch.export.export(deepcopy(network), (images,), dynamic_shapes=batch)
    graph: Any = program.run_decompositions({}).module(check_guards=False)
    _fold_norms(graph)
    _split_silu(graph)
    _insert_grids(graph, signed)
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.recompile()
    for part in graph.modules():
        part.training = False  # exported modules do not have eval()
    found: fx.GraphModule = graph
    return found


def set_grids(network: nn.Module, *, measures: bool, rounds: bool) -> None:
    """Set whether the grids of activations measure their ranges, and whether all grids round."""
    for part in network.modules():
        if isinstance(part, ActivationGrid):
            part.measures = measures
        if isinstance(part, (ActivationGrid, WeightGrid)):
            part.rounds = rounds


def fix_grids(network: fx.GraphModule) -> None:
    """Fix the scales of all weights and ranges at their present values, and round."""
    set_grids(network, measures=False, rounds=True)
    for node in network.graph.nodes:
        part = network.get_submodule(node.target) if node.op == "call_module" else None
        if isinstance(part, WeightGrid):
            part.fix(network.get_parameter(node.args[0].target))


def _calls(graph: fx.GraphModule) -> Iterator[tuple[Node, Any]]:
    """The calls of the graph with their operators; a list, so that the graph may change."""
    for node in list(graph.graph.nodes):
        if node.op == "call_function":
            yield node, getattr(node.target, "overloadpacket", node.target)


def _fold_norms(graph: fx.GraphModule) -> None:
    """Fold batch norms into the convolutions before them; others stay as they are."""
    for node, kind in _calls(graph):
        if kind is not _ATEN._native_batch_norm_legit_no_training:
            continue
        before = node.args[0]
        (result,) = (user for user in node.users if user.target is operator.getitem)
        if _can_fold(before):
            _fold(graph, before, node.args)
            result.replace_all_uses_with(before)
        else:
            with graph.graph.inserting_after(node):
                values = (*node.args[:5], False, *node.args[5:], False)
                # The decomposed operator has no gradient.
                plain = graph.graph.call_function(_ATEN.batch_norm.default, values)
            plain.meta = dict(result.meta)
            result.replace_all_uses_with(plain)
        graph.graph.erase_node(result)
        graph.graph.erase_node(node)


def _can_fold(node: Node) -> bool:
    """Whether this is a convolution with its own weight, and nothing else uses its output."""
    packet = getattr(node.target, "overloadpacket", None)
    own = packet in _WEIGHTED and packet is not _ATEN.linear and len(node.users) == 1
    return own and node.args[1].op == "get_attr" and len(node.args[1].users) == 1


def _fold(graph: fx.GraphModule, node: Node, norm: tuple[Any, ...]) -> None:
    """Put scale and shift of a batch norm into weight and bias of a convolution."""

    def value(part: Node | None) -> Any:
        return None if part is None else operator.attrgetter(str(part.target))(graph)

    weight, bias = node.args[1], node.args[2] if len(node.args) > 2 else None
    _, scale, shift, mean, variance, _, epsilon = norm
    new = fuse_conv_bn_weights(
        value(weight), value(bias), value(mean), value(variance), epsilon, value(scale),
        value(shift),
    )  # fmt: skip
    with graph.graph.inserting_before(node):
        names = []
        for tensor in new:
            names.append(f"folded_{len(list(graph.parameters(recurse=False)))}")
            graph.register_parameter(names[-1], nn.Parameter(tensor.detach().clone()))
        parts = tuple(graph.graph.get_attr(name) for name in names)
    node.args = (node.args[0], *parts, *node.args[3:])


def _split_silu(graph: fx.GraphModule) -> None:
    for node, kind in _calls(graph):
        if kind is _ATEN.silu:
            (inputs,) = node.args
            with graph.graph.inserting_before(node):
                gate = graph.graph.call_function(_ATEN.sigmoid.default, (inputs,))
                product = graph.graph.call_function(_ATEN.mul.Tensor, (inputs, gate))
            gate.meta = product.meta = dict(node.meta)
            node.replace_all_uses_with(product)
            graph.graph.erase_node(node)


def _insert_grids(graph: fx.GraphModule, signed: bool) -> None:
    """Insert a grid at each weight, input and output of an int8 operator, except the logits."""
    calls = [(node, kind) for node, kind in _calls(graph) if kind in _INT8 and _can_round(node)]
    (end,) = graph.graph.find_nodes(op="output")
    wanted: dict[Node, None] = {}  # an ordered set: the numbers of the grids are reproducible
    limit = 127 if signed else 64
    for node, kind in calls:
        inputs = node.all_input_nodes
        if kind in _WEIGHTED:
            inputs = inputs[:1]
            weight = node.args[1]
            with graph.graph.inserting_before(node):
                node.replace_input_with(weight, _grid(graph, weight, WeightGrid(limit)))
        wanted.update(dict.fromkeys(part for part in inputs if _is_float(part)))
        wanted[node if signed else _last_of(node)] = None
    grids: dict[Node, str] = {}
    origins = {node: _origin(node, wanted) for node in wanted}  # found before the graph changes
    for node, origin in origins.items():
        if node in end.all_input_nodes:
            continue
        with graph.graph.inserting_after(node):
            if origin in grids:
                rounded = graph.graph.call_module(grids[origin], (node,))
            else:
                rounded = _grid(graph, node, ActivationGrid(signed))
                grids[origin] = str(rounded.target)
        node.replace_all_uses_with(rounded, delete_user_cb=_is_not(rounded))


def _is_not(node: Node) -> Callable[[Node], bool]:
    return lambda user: user is not node


def _grid(graph: fx.GraphModule, node: Node, grid: nn.Module) -> Node:
    name = f"grid_{sum(1 for _ in graph.children())}"
    graph.add_submodule(name, grid)
    return graph.graph.call_module(name, (node,))


def _can_round(node: Node) -> bool:
    """Whether the operator's inputs are floating-point tensors, and its weight is a parameter."""
    kind = getattr(node.target, "overloadpacket", None)
    if kind in _WEIGHTED:
        weight = node.args[1]
        return isinstance(weight, fx.Node) and weight.op == "get_attr"
    parts = node.args[0] if kind is _ATEN.cat else node.args[: 1 if kind is _ATEN.sigmoid else 2]
    return all(isinstance(part, fx.Node) and _is_float(part) for part in parts)


def _is_float(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def _last_of(node: Node) -> Node:
    """The ReLU after an int8 operator, or the operator itself."""
    if len(node.users) == 1:
        (user,) = node.users
        if getattr(user.target, "overloadpacket", None) in _CLIPPING:
            return user
    return node


def _origin(node: Node, wanted: dict[Node, None]) -> Node:
    """The nearest tensor with a grid whose values the tensor holds."""
    found = node
    while getattr(found.target, "overloadpacket", None) in _MOVING:
        found = found.all_input_nodes[0]
        if found in wanted:
            node = found
    return node
