"""int8 files after quantisation-aware fine-tuning (Jacob et al., CVPR 2018).

Idea: rounding to int8 changes the outputs of a network. Fine-tuning with the rounding in the
forward pass lets the weights adapt to it (``fake_quantisation``).

Method: ranges are measured on calibration images. The loss is the cross-entropy of the rounded
network. SGD with Nesterov's momentum 0.9 starts at rate 1e-3 and falls to 0 along a cosine, with
batches of 32 images and without augmentation. Statistics of batch norms are folded into weights
and never change. Ranges follow the batches for two thirds of the steps and are fixed for the rest.
All seeds are fixed, so the same network gives the same file.

Cost: a step takes 1.3 times as long as a step in float32, on one thread of a CPU.

It does not help where calibration alone loses nothing, as on most plain and residual networks:
then ``int8`` gives the same accuracy without training. The literature reports its largest gains
for networks with depthwise convolutions, whose filters have very different ranges. On
MobileNet-v3-small with digits (one seed, 360 test images) there was none: float32 97.2 %,
calibrated 97.2 %, fine-tuned 96.9 %. It does not make a file faster than ``int8``.

The file is an ONNX graph with QuantizeLinear and DequantizeLinear, exported from the rounded
network itself, so onnxruntime computes the same numbers up to single roundings of integers.
torchao's PT2E flow makes such a file as well, but it does not round outputs before HardSwish or
SiLU, so onnxruntime computes 33 of the 52 convolutions of MobileNet-v3-small in float32. Here it
computes all 52 on integers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, fx

from workbench.data.augmentation import normalise
from workbench.data.image_batches import ImageSet, spread
from workbench.deployment.onnx_files import open_session
from workbench.deployment.optional_libraries import import_onnx
from workbench.deployment.quantisation.fake_quantisation import (
    fake_quantised,
    fix_grids,
    set_grids,
)
from workbench.deployment.quantisation.float_operators import float_operators
from workbench.deployment.quantisation.qdq_export import write_qdq
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_training import (
    BATCH,
    StagePlan,
    fixed_random_numbers,
    images_in_order,
    sgd,
    train_for_stage,
)
from workbench.deployment.stage_types import StageReport, TrainedNetwork
from workbench.models.weight_files import Card
from workbench.training.plans import batch_sizes

_RATE = 1e-3
_FREE = 2 / 3  # share of the steps in which ranges follow the batches


def make_int8_qat(trained: TrainedNetwork, settings: DeploymentSettings, path: Path) -> StageReport:
    """Fine-tune a network with int8 rounding and write it as an int8 ONNX file.

    Args:
        settings: ``qat_epochs``, ``calibration_images`` and ``int8_for`` apply.
        path: file to write; the input is "images", a batch of any size, the output "logits".

    Returns:
        Details hold the schedule, the loss of each epoch, and ``difference``: the largest
        difference of logits between onnxruntime and the rounded network on calibration images, as
        a share of the largest logit.

    Raises:
        SettingsError: when a library of the extra [onnx] is not installed.
        TrainingError: when the loss is no longer a finite number.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        import_onnx(name)
    images, card, signed = trained.train, trained.card, settings.int8_for == "arm"
    with fixed_random_numbers():
        places = spread(len(images), settings.calibration_images)
        pixels, _ = next(images_in_order(images, places, batch_sizes(len(places), BATCH)))
        sample = normalise(pixels, card)
        network = fake_quantised(trained.network, sample, signed=signed)
        with torch.no_grad():
            for pixels, _ in images_in_order(images, places, batch_sizes(len(places), BATCH)):
                network(normalise(pixels, card))
        losses = _fine_tune(network, images, card, settings.qat_epochs)
    fix_grids(network)
    write_qdq(network, card, sample, path, settings.int8_for)
    details = {
        "epochs": settings.qat_epochs,
        "learning_rate": _RATE,
        "batch_size": BATCH,
        "losses": losses,
        "calibration_images": len(places),
        "difference": _difference(network, sample, path, signed=signed),
    }
    return StageReport(float_operators(path), details)


def _fine_tune(network: fx.GraphModule, images: ImageSet, card: Card, epochs: int) -> list[float]:
    """Train the rounded network in place; return the mean loss of each epoch."""

    def follow_ranges(step: int, steps: int) -> None:
        set_grids(network, measures=step < _FREE * steps, rounds=True)

    optimizer = sgd(list(network.parameters()), _RATE)
    plan = StagePlan("int8-qat", epochs, _RATE, optimizer, "use the stage int8")
    return train_for_stage(network, images, card, plan, before_step=follow_ranges)


def _difference(network: fx.GraphModule, images: Tensor, path: Path, *, signed: bool) -> float:
    """Largest difference of logits, as a share of the largest logit."""
    # x86 processors without VNNI cut sums of products of 127; ARM processors do not.
    session = open_session(path, exact=signed)
    (found,) = session.run(["logits"], {"images": images.numpy()})
    with torch.no_grad():
        wanted = network(images).numpy()
    return float(np.abs(found - wanted).max() / max(float(np.abs(wanted).max()), 1e-30))
