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
        libraries: of the extra ``[onnx]`` that it needs.
        trains: whether it trains the network on the target.
        epochs: the field of ``DeploymentSettings`` with the epochs of this training; "" for a stage
            without one, and for one that repeats the training of its protocol.
        rewinds: whether it needs the weights that the training started from.
        options: the fields of ``DeploymentSettings`` that determine its file.
        summary: what it does, in one line.
        own_costs: whether FLOPs and latency of its file are not those of the network, and depend
            on the images.
    """

    name: str
    suffix: str
    runtime: str | None
    options: tuple[str, ...]
    summary: str
    libraries: tuple[str, ...] = ()
    trains: bool = False
    epochs: str = ""
    rewinds: bool = False
    own_costs: bool = False

    @property
    def repeats(self) -> bool:
        """Whether it repeats the training of its protocol."""
        return self.trains and not self.epochs


INT8 = "int8"
_ONNX = ("onnx", "onnxruntime", "onnxscript")
STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            INT8,
            ".onnx",
            "onnx-int8",
            ("int8_for", "calibration_images"),
            "8-bit integers after training",
            _ONNX,
        ),
        Stage(
            "int8-qat",
            ".onnx",
            "onnx-int8",
            ("int8_for", "calibration_images", "qat_epochs"),
            "8-bit integers with quantisation-aware fine-tuning",
            _ONNX,
            trains=True,
            epochs="qat_epochs",
        ),
        Stage(
            "mixed",
            ".packed",
            None,
            ("calibration_images", "mixed_size"),
            "8, 6 or 4 bits a weight by layer: smaller, not faster",
        ),
        Stage(
            "clustered", ".packed", None, (), "shared weights, Huffman coded: smaller, not faster"
        ),
        Stage(
            "kernel-clustered",
            ".packed",
            None,
            ("kernel_granularity", "kernel_rate", "kernel_epochs"),
            "shared 2-D kernels by KSE, fine-tuned: smaller, not faster",
            trains=True,
            epochs="kernel_epochs",
        ),
        Stage(
            "binary",
            ".packed",
            None,
            ("binary", "binary_epochs"),
            "one bit a weight, trained: smaller, not faster",
            trains=True,
            epochs="binary_epochs",
        ),
        Stage(
            "sparse",
            ".packed",
            None,
            ("mask_sparsity", "mask_epochs"),
            "the smallest weights are 0, fine-tuned: smaller, not faster",
            trains=True,
            epochs="mask_epochs",
        ),
        Stage(
            "lottery",
            ".packed",
            None,
            ("mask_sparsity", "lottery_rounds"),
            "the same in rounds, each trained from the initial weights: smaller, not faster",
            trains=True,
            rewinds=True,
        ),
        Stage(
            "supermask",
            ".packed",
            None,
            ("mask_sparsity", "mask_epochs"),
            "a learned choice of the initial weights: smaller, not faster",
            trains=True,
            epochs="mask_epochs",
            rewinds=True,
        ),
        Stage(
            "multi-exit",
            ".exits",
            None,
            ("exits", "exit_epochs", "exit_flops", "exit_tolerance"),
            "exits at several depths: easy images leave early",
            own_costs=True,
        ),
    )
}
