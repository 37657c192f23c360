"""Stage ``int8``: post-training quantisation to 8-bit integers (method card).

Idea: weights and activations of a trained network are rounded to 8-bit integers, so that the
processor multiplies integers, which is faster, and the file is a quarter as large.
Formula: r is about S (q - Z). Weights: one scale for each filter, Z = 0, q in [-127, 127].
Activations: one scale for each tensor, from its range on the target's training images. For x86 they
are unsigned, S = (max - min) / 255; for ARM signed and symmetric, Z = 0. Batch norms are folded
into the convolutions first.
Choices: the range is from the observed minimum to the maximum, or the middle 99.99 % of the values.
For x86, weights have 8 or 7 bits: processors without VNNI instructions add two products in 16 bits,
which can overflow. The choice that changes the logits least is taken, on training images that were
not used for the ranges.
Cost: seconds; no training.
When it does not help: networks whose activations have a few very large values lose accuracy
(``int8_qat`` may help). Operators without an integer version (such as SiLU) stay float32; each then
needs two conversions, so such a network can become slower.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from workbench.data.image_batches import spread
from workbench.deployment.chosen_images import normalised_images
from workbench.deployment.onnx_files import (
    INPUT,
    MADE_FOR,
    Array,
    add_texts,
    open_session,
    write_onnx,
)
from workbench.deployment.optional_libraries import import_onnx
from workbench.deployment.quantisation.float_operators import float_operators
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_types import StageReport, TrainedNetwork
from workbench.models.processor import int8_instructions
from workbench.models.weight_files import CARD

_PERCENTILE = 99.99
_MOST_VALUES = 1 << 22  # values of the images of one pass
_QUICK_IMAGES = 8
_CHECKED = 64  # training images on which the choices are compared


@dataclass(frozen=True)
class Choice:
    """One way to quantise.

    Attributes:
        ranges: "min-max" or "percentile".
        bits: of the weights, 8 or 7.
    """

    ranges: str
    bits: int

    def __str__(self) -> str:
        return f"{self.ranges}, {self.bits}-bit weights"


def make_int8(trained: TrainedNetwork, settings: DeploymentSettings, path: Path) -> StageReport:
    """Write the int8 version of a network as an ONNX file with QuantizeLinear nodes.

    Args:
        settings: ``int8_for`` and ``calibration_images`` are used.
        path: file to write.

    Raises:
        SettingsError: when a library of the extra ``[onnx]`` is missing, or the network cannot be
            quantised.
    """
    seen, checked = _split(trained, settings.calibration_images)
    with tempfile.TemporaryDirectory() as name, _quiet():
        folder = Path(name)
        prepared = _prepared(trained, folder)
        wanted = run_all(prepared, checked)
        errors: dict[Choice, float] = {}
        for choice in _choices(settings):
            _quantise(prepared, seen, choice, settings)
            # An x86 processor may overflow where an ARM processor does not.
            found = run_all(_file(folder, choice), checked, exact=settings.int8_for == "arm")
            errors[choice] = float(np.mean((found - wanted) ** 2))
        best = min(errors, key=lambda choice: (errors[choice], -choice.bits))
        onnx = import_onnx("onnx")
        proto = onnx.load(str(_file(folder, best)))
        add_texts(proto, {CARD: trained.card.text(), MADE_FOR: settings.int8_for})
        onnx.save(proto, str(path))
        left = float_operators(path)
    scale = float(np.mean(wanted**2)) or 1.0
    return StageReport(
        left_float=left,
        details={
            "made_for": settings.int8_for,
            "int8_instructions": int8_instructions() or "none",
            "calibration_images": len(seen),
            "ranges": best.ranges,
            "weight_bits": best.bits,
            "relative_errors": {str(each): error / scale for each, error in errors.items()},
        },
    )


def write_quickly(trained: TrainedNetwork, settings: DeploymentSettings, path: Path) -> None:
    """Write an int8 file to measure its latency: few images, and no comparison of choices."""
    seen, _ = _split(trained, _QUICK_IMAGES)
    with tempfile.TemporaryDirectory() as name, _quiet():
        prepared = _prepared(trained, Path(name))
        choice = _choices(settings)[0]
        _quantise(prepared, seen, choice, settings)
        shutil.copyfile(_file(Path(name), choice), path)


def _choices(settings: DeploymentSettings) -> list[Choice]:
    bits = (8, 7) if settings.int8_for == "x86" else (8,)
    return [Choice(ranges, each) for ranges in ("min-max", "percentile") for each in bits]


def run_all(path: Path, images: Array, *, exact: bool = False) -> Array:
    """Logits of an ONNX file, shape (n, classes); ``exact`` as for ``onnx_files.open_session``."""
    session = open_session(path, exact=exact)
    step = _batch(images)
    parts = [
        session.run(None, {INPUT: images[at : at + step]})[0] for at in range(0, len(images), step)
    ]
    return np.concatenate(parts)


def _split(trained: TrainedNetwork, count: int) -> tuple[Array, Array]:
    """Images to measure ranges on, and other images to compare the choices on, where there are."""
    total = len(trained.train)
    seen = spread(total, count)
    rest = np.setdiff1d(np.arange(total), seen)
    checked = rest[spread(len(rest), _CHECKED)] if len(rest) else seen[:_CHECKED]
    return (
        normalised_images(trained.train, seen, trained.card),
        normalised_images(trained.train, checked, trained.card),
    )


def _prepared(trained: TrainedNetwork, folder: Path) -> Path:
    """The float32 file of a network, with shapes inferred and operators fused."""
    plain, prepared = folder / "float.onnx", folder / "prepared.onnx"
    write_onnx(trained.network, trained.card, plain)
    from_onnxruntime = import_onnx("onnxruntime.quantization.shape_inference")
    from_onnxruntime.quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
    return prepared


def _ranges(prepared: Path, images: Array, ranges: str, settings: DeploymentSettings) -> Path:
    """A file with the range of every activation, measured once, as ``quantize_static`` reads it."""
    cache = prepared.with_name(f"{ranges}.json")
    if cache.exists():
        return cache
    calibrate = import_onnx("onnxruntime.quantization.calibrate")
    methods = calibrate.CalibrationMethod
    calibrator = calibrate.create_calibrator(
        prepared,
        [],  # all operators
        augmented_model_path=str(cache.with_suffix(".onnx")),
        calibrate_method=methods.MinMax if ranges == "min-max" else methods.Percentile,
        extra_options={"symmetric": settings.int8_for == "arm", "percentile": _PERCENTILE},
    )
    step = _batch(images)
    for at in range(0, len(images), step):  # all outputs of a pass are in memory at once
        calibrator.collect_data(_Reader(images[at : at + step]))
    calibrate.save_tensors_data(calibrator.compute_data(), cache)
    return cache


class _Reader:
    """The interface of onnxruntime's ``CalibrationDataReader``: one batch."""

    def __init__(self, images: Array) -> None:
        self._batches: Iterator[dict[str, Array]] = iter([{INPUT: images}])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._batches, None)


def _quantise(prepared: Path, images: Array, choice: Choice, settings: DeploymentSettings) -> None:
    """Write the int8 file of a choice beside the prepared one."""
    quantization: Any = import_onnx("onnxruntime.quantization")
    methods = quantization.CalibrationMethod
    symmetric = settings.int8_for == "arm"
    kinds = quantization.QuantType
    quantization.quantize_static(
        str(prepared),
        str(_file(prepared.parent, choice)),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        reduce_range=choice.bits == 7,
        activation_type=kinds.QInt8 if symmetric else kinds.QUInt8,
        weight_type=kinds.QInt8,
        calibrate_method=methods.MinMax if choice.ranges == "min-max" else methods.Percentile,
        calibration_cache_path=_ranges(prepared, images, choice.ranges, settings),
        extra_options={"ActivationSymmetric": symmetric, "WeightSymmetric": True},
    )


def _file(folder: Path, choice: Choice) -> Path:
    return folder / f"{choice.ranges}-{choice.bits}.onnx"


def _batch(images: Array) -> int:
    return max(1, min(32, _MOST_VALUES // (16 * int(images[0].size))))


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what onnxruntime's quantiser prints and logs (to the root logger)."""
    logger = logging.getLogger()
    before, logger.disabled = logger.disabled, True
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logger.disabled = before
