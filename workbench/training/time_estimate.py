"""Estimate of a training's duration on this processor, from a few timed steps."""

from __future__ import annotations

import copy
import math
import time

import torch
from torch import nn

from workbench.compression.costs.costs import count_costs
from workbench.data.augmentation import normalise
from workbench.data.catalog import Source
from workbench.models.networks import place
from workbench.models.processor import Processor, wait_for
from workbench.training.loop import make_optimizer
from workbench.training.plans import Plan
from workbench.training.time_left import duration

#: Trainings of at least this duration are announced before they begin.
LONG_SECONDS = 300.0
#: One-cycle epochs that make a source network good enough to specialise from.
SHORT_SOURCE = 12
_SLOW = 5e9  # FLOPs per second that any processor reaches, even with small networks
#: Untimed and timed steps. The first steps on a GPU load its kernels: they take ten times as long.
_STEPS = {"cpu": (1, 2), "cuda": (10, 20)}
_TIMED_BATCH = 64  # images: on a CPU a step's time is proportional to them


def time_line(seconds: float, detail: str) -> str:
    """The estimate as a line of text."""
    return f"time        about {duration(seconds)} of training on this processor ({detail})"


def may_be_long(model: nn.Module, source: Source, images: int, plan: Plan) -> bool:
    """Whether a training may take ``LONG_SECONDS``, from its FLOPs alone.

    A step costs about three forward passes. If the result is False, no timing is needed.
    """
    flops = 3 * count_costs(model, source.shape).flops * images * plan.epochs
    return flops / _SLOW > LONG_SECONDS


def estimate_seconds(
    model: nn.Module, source: Source, images: int, plan: Plan, processor: Processor
) -> float:
    """Estimate the seconds of a training, without evaluation and without reading images.

    Args:
        model: the network; a copy of it is trained on noise for a few steps.
        source: shape and normalisation of the images.
        images: number of training images.
        plan: schedule and hyper-parameters.
    """
    batch = min(plan.batch_size, images)
    steps = math.ceil(images / batch) * plan.epochs
    timed = batch if processor.device == "cuda" else min(batch, _TIMED_BATCH)
    seconds = _seconds_per_step(copy.deepcopy(model), source, timed, plan, processor)
    return steps * seconds * batch / timed


def _seconds_per_step(
    model: nn.Module, source: Source, batch: int, plan: Plan, processor: Processor
) -> float:
    device = processor.torch_device
    place(model, device).train()
    optimizer = make_optimizer(model.parameters(), plan)
    generator = torch.Generator().manual_seed(0)
    shape = (batch, *source.shape)
    images = torch.randint(0, source.white + 1, shape, dtype=torch.uint8, generator=generator)
    images, labels = images.to(device), torch.arange(batch, device=device) % 2
    untimed, timed = _STEPS[device.type]
    start = 0.0
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for step in range(untimed + timed):
            if step == untimed:
                wait_for(device)
                start = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, processor.precision == "bf16"):
                logits = model(normalise(images, source))
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(nn.functional.cross_entropy(logits.float(), labels))
            optimizer.step()
        wait_for(device)
    return (time.perf_counter() - start) / timed
