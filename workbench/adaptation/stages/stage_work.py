"""The work (FLOPs) of stages and latency measurements, for the estimate of the time left."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.adaptation.tasks.loaded_task import LoadedTask
from workbench.adaptation.tasks.task import Task
from workbench.deployment.stage_names import STAGES, Stage
from workbench.training.time_left import pass_work, training_work

#: A stage writes, checks and opens files, and timings have a fixed length, whatever the network:
#: seconds on one core of a laptop, in FLOPs.
_FIXED = 3e11
_TIMED = 1000  # images in the timed passes of one network
_STAGE_PASSES = 4  # passes over the images of a stage: calibration, export, evaluation


@dataclass(frozen=True)
class NetworkSizes:
    """FLOPs of one image's forward pass.

    Attributes:
        source: the full network on the source's images.
        full, small: the full and the compressed network on the target's images.
    """

    source: float
    full: float
    small: float


#: Work of the verdict: reading the results, and drawing the charts.
VERDICT_WORK = _FIXED / 3


def latency_work(task: Task, sizes: NetworkSizes) -> float:
    """Work of timing the networks in all runtimes; 0 without stages that have a runtime."""
    timed = any(STAGES[name].runtime for name in task.settings.deployment.stages)
    return 2 * _FIXED + pass_work(sizes.full + sizes.small, _TIMED) if timed else 0.0


def stage_work(loaded: LoadedTask, stage: Stage, flops: float, epochs: int) -> float:
    """Work of a stage after one training.

    Args:
        flops: of the network.
        epochs: of its training, for a stage that repeats it.
    """
    options = loaded.task.settings.deployment
    images = len(loaded.test) + min(options.calibration_images, len(loaded.train))
    work = _FIXED + _STAGE_PASSES * pass_work(flops, images)
    if not stage.trains:
        return work
    own = options.lottery_rounds * epochs if stage.repeats else getattr(options, stage.epochs)
    return work + training_work(flops, len(loaded.train), own)
