"""The operators of an int8 file that onnxruntime computes in float32."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from workbench.deployment.onnx_files import open_session
from workbench.deployment.optional_libraries import import_onnx

_FLOAT, _INTEGERS = 1, {2, 3, 6}  # in ONNX: float32; uint8, int8 and int32
#: Operators that only move values.
_MOVES = {
    "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "ReorderInput",
    "ReorderOutput", "Shape", "Gather", "Concat", "Slice", "Split", "Constant", "Cast",
}  # fmt: skip


def float_operators(path: Path) -> tuple[str, ...]:
    """Operators with the number of their nodes, such as "Softmax (1)".

    They are counted in the graph that onnxruntime makes of the file by the optimisations that all
    processors share. Operators that only move values do not count, and neither do those that
    compute sizes.

    Raises:
        WeightsError: when the file cannot be read.
    """
    onnx = import_onnx("onnx")
    with tempfile.TemporaryDirectory() as folder:
        executed = Path(folder) / "executed.onnx"
        open_session(path, optimised=executed)
        model = onnx.shape_inference.infer_shapes(onnx.load(str(executed)))
    graph = model.graph
    known = {each.name: each.type.tensor_type.elem_type for each in graph.value_info}
    integers = {each.name for each in graph.initializer if each.data_type in _INTEGERS}
    left: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            continue
        if node.op_type.startswith("Q") or _first(node.input) in integers:
            integers |= set(node.output)
        elif node.op_type not in _MOVES and known.get(node.output[0], _FLOAT) == _FLOAT:
            left[node.op_type] += 1
    return tuple(f"{name} ({count})" for name, count in sorted(left.items()))


def _first(names: Any) -> str:
    return str(names[0]) if names else ""
