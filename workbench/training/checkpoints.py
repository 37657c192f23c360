"""The state of a training between two epochs, on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from workbench.data.checked_values import LARGEST_NUMBER, listed, mapped, number, whole
from workbench.data.whole_files import parse_json
from workbench.models.weight_files import save_tensors
from workbench.training.weight_average import WeightAverage


@dataclass(frozen=True)
class Epoch:
    """Results of one epoch: its number from 1, mean training loss, last learning rate."""

    number: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Progress:
    """Progress of a training after an epoch: all epochs so far and the seconds they took."""

    epochs: tuple[Epoch, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """File in which ``fit`` saves its state, and how often.

    Attributes:
        path: a safetensors file; written to a temporary file beside it, then moved into place.
        key: identifies the training; a file with another key is ignored.
        every: minimum seconds between two saves.
    """

    path: Path
    key: str
    every: float = 0.0


def _write_down(
    checkpoint: Checkpoint,
    model: nn.Module,
    optimizer: torch.optim.SGD,
    average: WeightAverage | None,
    progress: Progress,
) -> None:
    tensors = _state(model, optimizer, average)
    metadata = {"key": checkpoint.key, "progress": json.dumps(asdict(progress))}
    save_tensors(tensors, checkpoint.path, metadata)


def _take_up(
    checkpoint: Checkpoint,
    model: nn.Module,
    optimizer: torch.optim.SGD,
    average: WeightAverage | None,
) -> Progress:
    """Load the state of an interrupted training; without one, nothing changes."""
    try:
        with safe_open(checkpoint.path, framework="pt") as file:
            metadata: dict[str, Any] = file.metadata() or {}
        if metadata.get("key") != checkpoint.key:
            return Progress()
        tensors = load_file(checkpoint.path)
        progress = _progress_from(metadata.get("progress", ""))
    except (OSError, SafetensorError, ValueError):
        return Progress()  # missing, or truncated by a full disk: start again
    _put_state(tensors, model, optimizer, average)
    return progress


@dataclass(frozen=True, eq=False)
class Handover:
    """The state of a training for another process.

    Attributes:
        tensors: all its values; empty before the first epoch, when they are those of the network.
    """

    progress: Progress
    tensors: dict[str, Tensor]


def handover_of(
    progress: Progress,
    model: nn.Module,
    optimizer: torch.optim.SGD,
    average: WeightAverage | None,
) -> Handover:
    """Collect the state of a training for another process."""
    return Handover(progress, _state(model, optimizer, average) if progress.epochs else {})


def take_over(
    handover: Handover,
    model: nn.Module,
    optimizer: torch.optim.SGD,
    average: WeightAverage | None,
) -> Progress:
    """Continue with the state of a training in another process."""
    if handover.tensors:
        _put_state(handover.tensors, model, optimizer, average)
    return handover.progress


def _state(
    model: nn.Module, optimizer: torch.optim.SGD, average: WeightAverage | None
) -> dict[str, Tensor]:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for name, weight in model.named_parameters():
        # Gates have none, because the optimiser does not update them.
        if "momentum_buffer" in optimizer.state.get(weight, {}):
            tensors[f"momentum.{name}"] = optimizer.state[weight]["momentum_buffer"]
    if average:
        tensors |= {f"average.{name}": tensor for name, tensor in average.tensors.items()}
    return tensors


def _put_state(
    tensors: dict[str, Tensor],
    model: nn.Module,
    optimizer: torch.optim.SGD,
    average: WeightAverage | None,
) -> None:
    model.load_state_dict(_named(tensors, "model."))
    if average:
        average.load(_named(tensors, "average."))
    for name, weight in model.named_parameters():
        if f"momentum.{name}" not in tensors:
            continue
        buffer = tensors[f"momentum.{name}"].to(weight.device)
        # The fused step requires the buffer in the memory layout of the weight.
        optimizer.state[weight]["momentum_buffer"] = torch.empty_like(weight).copy_(buffer)


def _named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _progress_from(text: str) -> Progress:
    saved = mapped("progress", parse_json(text))
    epochs = listed("epochs", saved.get("epochs"))
    return Progress(tuple(map(epoch_from, epochs)), number("seconds", saved.get("seconds")))


def epoch_from(saved: object) -> Epoch:
    """An epoch from what ``asdict`` made of it.

    Raises:
        ValueError: when it is none.
    """
    values = mapped("an epoch", saved)
    return Epoch(
        whole("number", values.get("number"), 1),
        number("loss", values.get("loss"), -LARGEST_NUMBER),
        number("learning_rate", values.get("learning_rate")),
    )
