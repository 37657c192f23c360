"""Latencies of network files in their runtimes, measured in turns in one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.compression.costs import Timing, time_in_turns
from workbench.deployment.network_files import open_network
from workbench.deployment.onnx_files import Array, Run

#: Runtimes by the name that options and tables use.
TORCH, ONNX, ONNX_INT8 = "torch", "onnx", "onnx-int8"
RUNTIMES = (TORCH, ONNX, ONNX_INT8)
#: Number of timed passes by images per pass.
_ROUNDS = {1: 60, 64: 11}


@dataclass(frozen=True)
class Subject:
    """A file to time.

    Attributes:
        network: name of the network, such as "full".
        runtime: name of its runtime.
        path: the file; a weight file runs in torch.
    """

    network: str
    runtime: str
    path: Path


def time_files(
    subjects: Sequence[Subject], threads: int, model: str | None = None
) -> list[tuple[Timing, Timing]]:
    """Time the forward passes of files, in turns, at batch 1 and at batch 64.

    Args:
        subjects: files of networks for images of the same shape.
        threads: threads of each runtime; torch uses its own setting.
        model: name of the networks, if the user's own code defines them.

    Raises:
        WeightsError: when a file is damaged or does not run.
        SettingsError: when a runtime's library is missing.
    """
    opened = [open_network(subject.path, model, threads) for subject in subjects]
    measured = []
    for size, rounds in _ROUNDS.items():
        noise = np.random.default_rng(0).standard_normal((size, *opened[0].card.shape))
        images = noise.astype(np.float32)
        passes = [_one_pass(network.run, images) for network in opened]
        measured.append(time_in_turns(passes, rounds, size))
    return list(zip(*measured, strict=True))


def _one_pass(run: Run, images: Array) -> Callable[[], object]:
    return lambda: run(images)
