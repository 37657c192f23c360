"""ONNX files of fake-quantised networks, with QuantizeLinear and DequantizeLinear (QDQ).

Weights are stored as int8 integers with their scales. Each grid of an activation becomes a pair of
nodes with its scale and zero point, and a runtime merges the pairs with the operators between them
into int8 operators.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from workbench.deployment.onnx_files import MADE_FOR, add_texts
from workbench.deployment.optional_libraries import import_onnx
from workbench.deployment.quantisation.fake_quantisation import ActivationGrid, Node, WeightGrid
from workbench.models.weight_files import CARD, Card


class _Stored(nn.Module):
    """Integers of a weight or a bias, one scale a filter, and their DequantizeLinear.

    The zero points could be left out, but onnxruntime makes no int8 Gemm without them.
    """

    integers: Tensor
    scales: Tensor
    zeros: Tensor

    def __init__(self, values: Tensor, scales: Tensor, kind: torch.dtype) -> None:
        super().__init__()
        shaped = scales.double().view(-1, *[1] * (values.ndim - 1))
        limits = torch.iinfo(kind)
        codes = torch.round(values.detach().double() / shaped).clamp(limits.min, limits.max)
        self.register_buffer("integers", codes.to(kind))
        self.register_buffer("scales", scales)
        self.register_buffer("zeros", torch.zeros(scales.shape, dtype=kind))

    def forward(self, values: Tensor) -> Tensor:
        stored = (self.integers, self.scales, self.zeros)
        return _symbolic("DequantizeLinear", stored, torch.float32, values.shape, axis=0)


class _StoredGrid(nn.Module):
    """QuantizeLinear and DequantizeLinear of an activation."""

    scale: Tensor
    zero: Tensor

    def __init__(self, grid: ActivationGrid) -> None:
        super().__init__()
        scale, zero, least, _ = grid.grid()
        kind = torch.int8 if least < 0 else torch.uint8
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        self.register_buffer("zero", torch.tensor(zero, dtype=kind))

    def forward(self, values: Tensor) -> Tensor:
        grid = (self.scale, self.zero)
        integers = _symbolic("QuantizeLinear", (values, *grid), self.zero.dtype, values.shape)
        return _symbolic("DequantizeLinear", (integers, *grid), torch.float32, values.shape)


def _symbolic(
    name: str, inputs: tuple[Tensor, ...], kind: torch.dtype, shape: Any, **attributes: Any
) -> Tensor:
    """A node of the ONNX graph; its values exist only in the file."""
    found: Tensor = torch.onnx.ops.symbolic(name, inputs, attributes, dtype=kind, shape=shape)
    return found


def write_qdq(
    network: fx.GraphModule, card: Card, images: Tensor, path: Path, made_for: str = "x86"
) -> None:
    """Write the int8 ONNX file of a fake-quantised network.

    Args:
        network: from ``fake_quantisation.fake_quantised``, with fixed grids; it is not changed.
        card: stored in the file.
        images: two or more normalised images.

    The input "images" is a batch of any size, the output is "logits".

    Raises:
        SettingsError: when onnx or onnxscript is not installed.
    """
    onnx = import_onnx("onnx")
    import_onnx("onnxscript")
    program = torch.onnx.export(
        _stored(network),
        (images,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        input_names=["images"],
        output_names=["logits"],
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    for node in proto.graph.node:
        del node.metadata_props[:]  # paths of source files on this machine
    add_texts(proto, {CARD: card.text(), MADE_FOR: made_for})
    onnx.save(proto, str(path))


def _stored(network: fx.GraphModule) -> fx.GraphModule:
    """A copy of the network whose grids are nodes of the ONNX graph."""
    stored = deepcopy(network)
    grids = {
        node: stored.get_submodule(str(node.target))
        for node in stored.graph.nodes
        if node.op == "call_module"
    }
    for node in list(stored.graph.nodes):
        if node.op == "call_function" and isinstance(grids.get(_argument(node, 1)), WeightGrid):
            _store_bias(stored, node, grids)
    for node, grid in grids.items():
        if isinstance(grid, WeightGrid):
            weight = stored.get_parameter(str(node.all_input_nodes[0].target))
            stored.set_submodule(str(node.target), _Stored(weight, grid.scales(weight), torch.int8))
        elif isinstance(grid, ActivationGrid):
            stored.set_submodule(str(node.target), _StoredGrid(grid))
    stored.recompile()
    return stored


def _store_bias(stored: fx.GraphModule, node: Node, grids: dict[Node, nn.Module]) -> None:
    """Store the bias of a convolution or a linear layer; onnxruntime's QGemm needs integers."""
    inputs, weight, bias = (_argument(node, place) for place in range(3))
    grid, weights = grids.get(inputs), grids.get(weight)
    if bias is None or not isinstance(grid, ActivationGrid) or not isinstance(weights, WeightGrid):
        return
    scales = weights.scales(stored.get_parameter(str(weight.all_input_nodes[0].target)))
    name = f"bias_of_{node.name}"
    values = stored.get_parameter(str(bias.target))
    stored.add_submodule(name, _Stored(values, scales * grid.grid()[0], torch.int32))
    with stored.graph.inserting_before(node):
        node.replace_input_with(bias, stored.graph.call_module(name, (bias,)))


def _argument(node: Node, place: int) -> Any:
    return node.args[place] if len(node.args) > place else None
