"""Latencies of network files in their runtimes, measured in turns in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.compression.costs.costs import Timing, time_in_turns
from workbench.deployment.network_files import open_network
from workbench.deployment.onnx_files import Array, Run

#: Largest number of timed passes by images per pass; fewer if they take longer than ``_SECONDS``.
_MOST_ROUNDS = {1: 60, 64: 15}
_FEWEST_ROUNDS, _SECONDS = 5, 8.0


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
    return time_runs([network.run for network in opened], opened[0].card.shape)


def time_runs(runs: Sequence[Run], shape: tuple[int, int, int]) -> list[tuple[Timing, Timing]]:
    """Time opened networks in turns, at batch 1 and at batch 64.

    Args:
        shape: channels, height, width of an image.
    """
    measured = []
    for size, most in _MOST_ROUNDS.items():
        noise = np.random.default_rng(0).standard_normal((size, *shape))
        images = noise.astype(np.float32)
        passes = [_one_pass(run, images) for run in runs]
        start = time.perf_counter()
        for one_pass in passes:
            one_pass()
        once = time.perf_counter() - start
        rounds = max(_FEWEST_ROUNDS, min(most, round(_SECONDS / max(once, 1e-9))))
        measured.append(time_in_turns(passes, rounds, size))
    return list(zip(*measured, strict=True))


def one_image_ms(run: Run, shape: tuple[int, int, int], rounds: int) -> float:
    """Median time of one image in milliseconds, over ``rounds`` passes."""
    image = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
    return time_in_turns([_one_pass(run, image)], rounds)[0].median


def _one_pass(run: Run, images: Array) -> Callable[[], object]:
    return lambda: run(images)
