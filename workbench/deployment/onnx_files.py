"""ONNX files: write a network, and run a file with onnxruntime.

The input "images" is a batch, of any size, of normalised images, and the output "logits" has one
row for each image. The file's metadata hold the network's card.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from workbench.deployment.optional_libraries import import_onnx
from workbench.errors import WeightsError, brief
from workbench.models.processor import int8_instructions, is_arm
from workbench.models.weight_files import CARD, Card, card_from

INPUT, OUTPUT = "images", "logits"
MADE_FOR = "workbench.int8_for"  # metadata of int8 files: "x86" or "arm"
Array = NDArray[np.float32]
#: Logits, shape (b, classes), of normalised images, shape (b, channels, height, width).
Run = Callable[[Array], Array]


def write_onnx(
    network: nn.Module, card: Card, path: Path, texts: dict[str, str] | None = None
) -> None:
    """Write a network as a float32 ONNX file, with batch norms folded into convolutions.

    Tracing a network takes seconds. Networks with the same card and other weights have the same
    graph, so the last graph is kept and gets the new weights.

    Args:
        network: in evaluation mode, on the CPU.
        card: of this network.
        texts: further metadata.

    Raises:
        SettingsError: when a library of the extra ``[onnx]`` is missing.
    """
    onnx, optimizer = import_onnx("onnx"), import_onnx("onnxscript.optimizer")
    key = (card.model, card.shape, len(card.classes), card.widths, card.factors)
    if key not in _LAST_GRAPH or not _put_weights(_LAST_GRAPH[key], network):
        _LAST_GRAPH.clear()
        _LAST_GRAPH[key] = _trace(network, card)
    proto = optimizer.optimize(_LAST_GRAPH[key])
    for node in proto.graph.node:
        del node.metadata_props[:]  # paths of source files on this machine
    add_texts(proto, {CARD: card.text(), **(texts or {})})
    onnx.save(proto, str(path))


_LAST_GRAPH: dict[tuple[Any, ...], Any] = {}


def _put_weights(proto: Any, network: nn.Module) -> bool:
    """Put a network's weights into a graph; False if the graph does not have all of them."""
    state = {
        name: value.detach().cpu().numpy()
        for name, value in network.state_dict().items()
        if value.is_floating_point()
    }
    entries = {entry.name: entry for entry in proto.graph.initializer}
    fit = all(
        name in entries and tuple(entries[name].dims) == value.shape
        for name, value in state.items()
    )
    if fit:
        numpy_helper = import_onnx("onnx.numpy_helper")
        for name, value in state.items():
            entries[name].CopyFrom(numpy_helper.from_array(value, name))
    return fit


def _trace(network: nn.Module, card: Card) -> Any:
    # Weights that are channels last in memory make the exporter compute shapes at run time.
    network = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    program = torch.onnx.export(
        network,
        (torch.zeros(2, *card.shape),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        input_names=[INPUT],
        output_names=[OUTPUT],
        verbose=False,
        optimize=False,
    )
    assert program is not None
    return program.model_proto


def add_texts(proto: Any, texts: dict[str, str]) -> None:
    """Set metadata of an ONNX model."""
    kept = [entry for entry in proto.metadata_props if entry.key not in texts]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    for key, text in texts.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, text


def open_session(
    path: Path,
    threads: int | None = None,
    *,
    optimised: Path | None = None,
    exact: bool = False,
) -> Any:
    """Load an ONNX file into onnxruntime, on the CPU.

    Args:
        threads: threads of an operator; onnxruntime's own choice when None.
        optimised: file to which onnxruntime writes the graph after the optimisations that all
            processors share.
        exact: compute each node as it is, without merging any into int8 operators.

    Raises:
        WeightsError: when there is no such file, or onnxruntime cannot read it.
        SettingsError: when onnxruntime is missing.
    """
    runtime = import_onnx("onnxruntime")
    if not os.path.isfile(path):
        raise WeightsError(f"{path}: no such file")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors only; they are raised as exceptions, too
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    if exact:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if optimised is not None:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(optimised)
        # Otherwise only processors with ARM instructions compute on signed activations.
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - onnxruntime's errors have no common base
        raise WeightsError(f"{path}: not a readable ONNX file ({brief(error)})") from None


def open_onnx(path: Path, threads: int | None = None) -> tuple[Card, Run]:
    """Load an ONNX file that the workbench wrote.

    Raises:
        WeightsError: when the file is missing, damaged or has no valid card; the returned function
            raises it if the file does not run on its images.
        SettingsError: when onnxruntime is missing.
    """
    session = open_session(path, threads)
    texts = session.get_modelmeta().custom_metadata_map
    if texts.get(MADE_FOR) == "arm" and not (is_arm() or int8_instructions()):
        # Without int8 instructions, signed activations overflow; computed in float32, they do not.
        session = open_session(path, threads, exact=True)
    card = card_from(path, texts.get(CARD))

    def run(images: Array) -> Array:
        try:
            return np.asarray(session.run(None, {INPUT: images})[0])
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors have no common base
            raise WeightsError(f"{path}: does not run on its images ({brief(error)})") from None

    return card, run
