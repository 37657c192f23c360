"""The options for stages after training, and their checks.

The module has no heavy imports, so that ``workbench --help`` can show the defaults.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from workbench.deployment.optional_libraries import missing_library
from workbench.deployment.stage_names import STAGES
from workbench.errors import check_choice, check_once

PROCESSORS = ("x86", "arm")
#: Binary weights; binary weights and activations; the same with a scale for each filter.
BINARY = ("connect", "bnn", "xnor")
STAGE_OPTIONS = (
    "int8_for", "calibration_images", "mixed_size", "qat_epochs",
    "mask_sparsity", "mask_epochs", "lottery_rounds", "binary", "binary_epochs",
    "exits", "exit_epochs", "exit_flops", "exit_tolerance",
    "kernel_granularity", "kernel_rate", "kernel_epochs",
)  # fmt: skip
_MOST_IMAGES, _MOST_EPOCHS = 100_000, 10_000
_COUNTS = {
    "qat_epochs": _MOST_EPOCHS,
    "mask_epochs": _MOST_EPOCHS,
    "binary_epochs": _MOST_EPOCHS,
    "lottery_rounds": 100,
    "exits": 16,
    "exit_epochs": _MOST_EPOCHS,
    "kernel_granularity": 64,
    "kernel_rate": 16,
    "kernel_epochs": _MOST_EPOCHS,
}
_LEAST = {"kernel_granularity": 2, "kernel_rate": 0}  # others: 1


@dataclass(frozen=True, kw_only=True)
class DeploymentSettings:
    """The options of stages after training.

    Attributes:
        stages: which of ``stage_names.STAGES`` to apply to every trained network.
        int8_for: processor that the int8 file is made for: "x86" has unsigned activations, "arm"
            signed and symmetric ones.
        calibration_images: number of training images from which ranges and sensitivities are
            measured.
        mixed_size: largest size of the file of ``mixed``, as a share of its float32 weights,
            in (0, 1].
        qat_epochs: epochs of quantisation-aware fine-tuning.
        mask_sparsity: share of the weights of convolutions and linear layers that ``sparse``,
            ``lottery`` and ``supermask`` set to 0, in [0, 1).
        mask_epochs: epochs of the training of ``sparse`` and ``supermask``.
        lottery_rounds: trainings of ``lottery``.
        binary: what ``binary`` makes binary, a name in ``BINARY``.
        binary_epochs: epochs of the training of ``binary``.
        exits: number of exits of ``multi-exit`` before the last one.
        exit_epochs: epochs of their training.
        exit_flops: largest expected FLOPs per image, as a share of the network's, in (0, 1]; None
            uses ``exit_tolerance``.
        exit_tolerance: percentage points by which the accuracy with exits may be below that of the
            last exit, on held-out training images.
        kernel_granularity: levels of the input channels in ``kernel-clustered``, G; with more, more
            kernels are shared.
        kernel_rate: halvings of the shared kernels in ``kernel-clustered``, T.
        kernel_epochs: epochs of the training of ``kernel-clustered``.
    """

    stages: tuple[str, ...] = ()
    int8_for: str = "x86"
    calibration_images: int = 256
    mixed_size: float = 0.16
    qat_epochs: int = 3
    mask_sparsity: float = 0.9
    mask_epochs: int = 5
    lottery_rounds: int = 5
    binary: str = "connect"
    binary_epochs: int = 5
    exits: int = 3
    exit_epochs: int = 20
    exit_flops: float | None = None
    exit_tolerance: float = 1.0
    kernel_granularity: int = 4
    kernel_rate: int = 0
    kernel_epochs: int = 5

    @classmethod
    def of(cls, **options: Any) -> DeploymentSettings:
        """Create the settings from a user's options; stages may be text or a list."""
        if "stages" in options:
            names = options["stages"] or ()
            parts = names.split(",") if isinstance(names, str) else names
            options["stages"] = tuple(part.strip() for part in parts if part.strip())
        return cls(**options)

    def chosen(self) -> dict[str, Any]:
        """The stages and those of their options that differ from the defaults; {} without stages.

        Only these are part of keys and records, so that new options do not change old records.
        """
        if not self.stages:
            return {}
        options = {
            name: getattr(self, name)
            for name in STAGE_OPTIONS
            if getattr(self, name) != getattr(DeploymentSettings, name)
        }
        return {"stages": list(self.stages), **options}

    @property
    def runs_here(self) -> bool:
        """Whether int8 files for this kind of processor can be timed on this machine."""
        machine = platform.machine().lower()
        return (self.int8_for == "arm") == (machine in ("aarch64", "arm64"))

    def unused(self, used: Iterable[str]) -> list[str]:
        """A problem line for each stage option that the user chose and that has no effect.

        Args:
            used: names of the options that have an effect.
        """
        others = {
            name: [stage.name for stage in STAGES.values() if name in stage.options]
            for name in STAGE_OPTIONS
        }
        return [
            f"--{name.replace('_', '-')} has no effect here: it is an option of "
            f"--stages {', '.join(others[name])}; leave it out"
            for name in STAGE_OPTIONS
            if name not in used and getattr(self, name) != getattr(DeploymentSettings, name)
        ]

    def of_stage(self, name: str) -> dict[str, Any]:
        """The options that determine the file of one stage, as its part of a key."""
        return {option: getattr(self, option) for option in STAGES[name].options}

    def problems(self) -> list[str]:
        """One line for each invalid value."""
        problems = []
        for name in self.stages:
            problems += check_choice("--stages", name, list(STAGES))
            if name in STAGES:
                needs = STAGES[name].libraries
                problems += missing_library(needs, "onnx", f"--stages {name}")
        problems += check_once("--stages", self.stages)
        problems += check_choice("--int8-for", self.int8_for, PROCESSORS)
        if not 2 <= self.calibration_images <= _MOST_IMAGES:
            problems.append(
                f"--calibration-images {self.calibration_images} is not within 2 to {_MOST_IMAGES}"
            )
        if not 0 < self.mixed_size <= 1:
            problems.append(f"--mixed-size {self.mixed_size:g} is not within (0, 1]; try 0.16")
        if not 0 <= self.mask_sparsity < 1:
            problems.append(f"--mask-sparsity {self.mask_sparsity:g} is not within [0, 1); try 0.9")
        problems += check_choice("--binary", self.binary, BINARY)
        for name, most in _COUNTS.items():
            value, least = getattr(self, name), _LEAST.get(name, 1)
            if not least <= value <= most:
                option = name.replace("_", "-")
                problems.append(f"--{option} {value} is not within {least} to {most}")
        return problems + self._exit_problems()

    def _exit_problems(self) -> list[str]:
        problems = []
        if self.exit_flops is not None and not 0 < self.exit_flops <= 1:
            problems.append(f"--exit-flops {self.exit_flops:g} is not within (0, 1]; try 0.5")
        if not 0 <= self.exit_tolerance <= 100:
            problems.append(f"--exit-tolerance {self.exit_tolerance:g} is not within [0, 100]")
        elif self.exit_flops is not None and self.exit_tolerance != type(self).exit_tolerance:
            problems.append("--exit-flops with --exit-tolerance: leave one out")
        return problems
