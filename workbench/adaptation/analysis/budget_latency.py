"""Latency of candidate networks in onnxruntime, for ``--latency-ms`` with ONNX runtimes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from torch import nn

from workbench.adaptation.tasks.loaded_task import LoadedTask
from workbench.compression.recipes.recipe_settings import ONNX, ONNX_INT8
from workbench.deployment.onnx_files import open_onnx, write_onnx
from workbench.deployment.quantisation.int8 import write_quickly
from workbench.deployment.runtimes import one_image_ms
from workbench.deployment.stage_types import TrainedNetwork
from workbench.models.weight_files import Card


def budget_latency(
    loaded: LoadedTask,
) -> Callable[[nn.Module, tuple[int, ...], int], float] | None:
    """A function that measures a network's latency in the runtime that the user named.

    It takes the network, its widths and the number of timed passes, and returns the median time of
    one image in milliseconds. None for torch, which ``compression.recipe_choice.budgeted_recipe``
    measures.
    """
    return latency_in(loaded, loaded.task.settings.recipe.runtime)


def latency_in(
    loaded: LoadedTask, runtime: str
) -> Callable[[nn.Module, tuple[int, ...], int], float] | None:
    """Return the function of ``budget_latency`` for a given runtime."""
    if runtime not in (ONNX, ONNX_INT8):
        return None

    def latency(network: nn.Module, widths: tuple[int, ...], rounds: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            write_for(loaded, runtime, network, widths, path)
            run = open_onnx(path, loaded.processor.threads)[1]
            return one_image_ms(run, loaded.task.source.shape, rounds)

    return latency


def write_for(
    loaded: LoadedTask, runtime: str, network: nn.Module, widths: tuple[int, ...], path: Path
) -> None:
    """Write the ONNX file of a network with the target's classes for a runtime.

    Args:
        runtime: "onnx" or "onnx-int8".
        widths: filters of each group; empty for the full network.
    """
    task = loaded.task
    card = Card.of(task.model, task.source, task.domain.classes, widths)
    network = network.cpu().eval()
    if runtime == ONNX:
        write_onnx(network, card, path)
    else:
        trained = TrainedNetwork(network, card, loaded.train)
        write_quickly(trained, task.settings.deployment, path)
