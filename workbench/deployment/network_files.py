"""Open any file that the workbench writes, to compute logits with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from workbench.compression.narrow_networks import load_network
from workbench.deployment.executorch_files import open_pte
from workbench.deployment.exit_network import load_exits
from workbench.deployment.onnx_files import Array, Run, open_onnx
from workbench.deployment.quantisation.packed_weights import load_packed
from workbench.errors import SettingsError
from workbench.models.networks import place
from workbench.models.processor import exact_fp32
from workbench.models.weight_files import Card, read_card


@dataclass(frozen=True)
class OpenNetwork:
    """A file that is loaded into its runtime.

    Attributes:
        card: description of the network.
        run: logits, shape (b, classes), of normalised images, shape (b, channels, height, width).
    """

    card: Card
    run: Run


def open_network(path: Path, model: str | None = None, threads: int | None = None) -> OpenNetwork:
    """Load a file into its runtime, by its suffix; no file can run code.

    Args:
        model: name of the network, if the user's own code defines it.
        threads: threads of the runtime; the runtime's own choice when None. torch always uses its
            own setting.

    Raises:
        WeightsError: when the file is missing, damaged or has no valid card.
        SettingsError: when the runtime's library is missing, or for a ``.pt2`` file.
    """
    if path.suffix == ".pt2":
        raise SettingsError(
            f"{path}: loading a .pt2 file can run code in it; name the run, or a .safetensors or "
            ".onnx file"
        )
    return _OPENERS.get(path.suffix, _open_weights)(path, model, threads)


def card_of(path: Path) -> Card:
    """The card in a file; arguments and errors as for ``open_network``."""
    return read_card(path) if path.suffix == ".safetensors" else open_network(path).card


def torch_run(network: nn.Module, *, place_it: bool = True) -> Run:
    """A function that computes logits with a network, in fp32 on the CPU.

    Args:
        place_it: move the network to the CPU and into evaluation mode; an exported program is there
            already and cannot be moved.
    """
    device = torch.device("cpu")
    if place_it:
        place(network, device).eval()

    def run(images: Array) -> Array:
        with torch.inference_mode(), exact_fp32(device.type):
            pixels = torch.from_numpy(images).to(memory_format=torch.channels_last)
            logits: Array = network(pixels).numpy()
        return logits

    return run


def _open_weights(path: Path, model: str | None, _threads: int | None) -> OpenNetwork:
    return OpenNetwork(read_card(path), torch_run(load_network(path, model)))


def _open_onnx(path: Path, _model: str | None, threads: int | None) -> OpenNetwork:
    return OpenNetwork(*open_onnx(path, threads))


def _open_packed(path: Path, model: str | None, _threads: int | None) -> OpenNetwork:
    return OpenNetwork(read_card(path), torch_run(load_packed(path, model)))


def _open_pte(path: Path, _model: str | None, _threads: int | None) -> OpenNetwork:
    return OpenNetwork(*open_pte(path))


def _open_exits(path: Path, model: str | None, _threads: int | None) -> OpenNetwork:
    return OpenNetwork(read_card(path), torch_run(load_exits(path, model)[0]))


_OPENERS: dict[str, Callable[[Path, str | None, int | None], OpenNetwork]] = {
    ".exits": _open_exits,
    ".onnx": _open_onnx,
    ".packed": _open_packed,
    ".pte": _open_pte,
}
