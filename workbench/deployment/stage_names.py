"""The stages after training, as data; the module has no heavy imports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One way to make a file for a device from a trained network.

    Attributes:
        name: as on the command line.
        suffix: of its file.
        runtime: the runtime whose latency counts (``runtimes.RUNTIMES``); None for a file that is
            smaller but runs as the float32 network does.
        summary: what it does, in one line.
    """

    name: str
    suffix: str
    runtime: str | None
    summary: str


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("int8", ".onnx", "onnx-int8", "int8 weights and activations, calibrated"),
        Stage("int8-qat", ".onnx", "onnx-int8", "int8, after quantisation-aware fine-tuning"),
        Stage("mixed", ".packed", None, "8, 6 or 4 bits a weight, by layer; smaller, not faster"),
        Stage("clustered", ".packed", None, "shared weights with Huffman codes; smaller only"),
    )
}
