"""Run ONNX files with OpenVINO, Intel's runtime, to check outputs and latency in a second runtime.

OpenVINO reads float32 and int8 (QDQ) files as they are. Its int8 outputs differ from those of
onnxruntime by roundings of integers, so compare their classes rather than their logits.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.deployment.optional_libraries import import_library
from workbench.errors import WeightsError

Logits = NDArray[np.float32]


def open_openvino(path: Path, threads: int) -> Callable[[NDArray[np.float32]], Logits]:
    """Compile an ONNX file for the CPU.

    Args:
        path: a file with the input "images" and one output, as ``export`` writes it.
        threads: number of threads, at least 1.

    Returns:
        A function from normalised images (float32, shape (b, c, h, w)) to logits (float32, shape
        (b, classes)). It is not safe to call it from several threads at once.

    Raises:
        SettingsError: when openvino is not installed.
        WeightsError: when the file is missing or damaged, and by the function when the images do
            not fit the file.
    """
    openvino = import_library("openvino", "openvino", "OpenVINO")
    if not os.path.isfile(path):
        raise WeightsError(f"{path}: no such file")
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # otherwise bfloat16 where the processor has it
    }
    try:
        # The ONNX reader is chosen by name: others log errors about a file that is not theirs.
        frontend = openvino.frontend.FrontEndManager().load_by_framework("onnx")
        model = frontend.convert(frontend.load(str(path)))
        compiled = openvino.Core().compile_model(model, "CPU", options)
        request = compiled.create_infer_request()
        inputs = {entry.any_name: entry.partial_shape for entry in compiled.inputs}
    except Exception as error:  # noqa: BLE001 - openvino's errors have no common base
        raise WeightsError(f"{path}: not a readable ONNX file ({_short(error)})") from None

    if list(inputs) != ["images"] or len(compiled.outputs) != 1:  # an empty file is a valid graph
        raise WeightsError(f"{path}: not a readable ONNX file (it has no input 'images')")
    wanted = inputs["images"]

    def run(images: NDArray[np.float32]) -> Logits:
        # OpenVINO itself computes something for images with other channels.
        if not wanted.compatible(openvino.PartialShape(list(images.shape))):
            raise WeightsError(f"{path}: takes images of {wanted}, these are {images.shape}")
        try:
            found = request.infer({"images": np.ascontiguousarray(images)})
        except Exception as error:  # noqa: BLE001 - openvino's errors have no common base
            raise WeightsError(f"{path}: does not run on its images ({_short(error)})") from None
        return np.array(found[0], dtype=np.float32)  # a copy: the next call reuses the memory

    return run


def _short(error: Exception) -> str:
    """The last line of an error, without the places in OpenVINO's source before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:160]
