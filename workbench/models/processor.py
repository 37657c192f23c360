"""The processor and the number format of the computations."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from workbench.errors import SettingsError

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Processor:
    """The resolved ``--device`` and ``--precision``.

    Attributes:
        device: "cpu" or "cuda".
        precision: of the training; responses and evaluation are always fp32.
        threads: number of torch threads on the CPU; results are bit-identical only at the same
            number.
    """

    device: str
    precision: Precision
    threads: int

    @property
    def torch_device(self) -> torch.device:
        """The device as a torch.device."""
        return torch.device(self.device)


def resolve_processor(device: str, precision: str) -> Processor:
    """Replace "auto" by the best device and precision of this machine.

    Raises:
        SettingsError: when CUDA is requested and not available.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("--device cuda: no CUDA device is available here; use --device cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "auto":
        precision = "bf16" if has_fast_bf16(device) else "fp32"
    chosen: Precision = "bf16" if precision == "bf16" else "fp32"
    return Processor(device, chosen, torch.get_num_threads())


def has_fast_bf16(device: str) -> bool:
    """Whether the processor computes bfloat16 natively; emulated, it is slower than fp32."""
    if device == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    # torch has no public function for this up to 2.15; both names exist since 2.6.
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in questions)


@contextmanager
def exact_fp32(device: str) -> Iterator[None]:
    """Compute in true fp32 inside the block: no TF32, no bf16 and no autocast."""
    backends: tuple[Any, ...] = (
        torch.backends.cuda.matmul,
        torch.backends.cudnn.conv,  # type: ignore[attr-defined]
        torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
        torch.backends.mkldnn.conv,  # type: ignore[attr-defined]
    )
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.autocast(device, enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has finished its work; a CPU has none left when a call returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def machine_name(device: str) -> str:
    """The processor's product name, with the number of threads on a CPU."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{processor_name()}, {torch.get_num_threads()} threads"


def processor_name() -> str:
    """Product name of the CPU."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


#: Instructions that multiply 8-bit integers and add them up in 32 bits, by their names in Linux.
_INT8 = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


def int8_instructions() -> str:
    """The CPU's instructions for products of 8-bit integers; "" if it has none or it is unknown.

    Without them, int8 networks are slower, and onnxruntime adds two products in 16 bits, which can
    overflow with 8-bit weights.
    """
    return ", ".join(name for name in _INT8 if cpu_has(name))


def cpu_has(flag: str) -> bool:
    """Whether the CPU has instructions of that name in Linux; False if it is unknown."""
    return flag in (_cpuinfo("flags") or _cpuinfo("Features")).split()


def is_arm() -> bool:
    """Whether the CPU is an ARM processor."""
    return platform.machine().lower() in ("aarch64", "arm64")


def _cpuinfo(name: str) -> str:
    """The first value of a field of Linux's description of the CPU; "" without one."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return ""
    fields = (line.partition(":") for line in path.read_text().splitlines())
    return next((value.strip() for key, _, value in fields if key.strip() == name), "")
