"""Costs of a network: parameters, FLOPs, measured latency.

One multiply-add counts as two FLOPs, which does not affect ratios between networks. Batch norms,
activations, poolings and scatters are not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from workbench.compression.groups.attention_heads import is_attention
from workbench.models.channel_scatter import Scatter
from workbench.models.networks import place
from workbench.models.processor import exact_fp32, wait_for


@dataclass(frozen=True)
class Costs:
    """Costs of one network.

    Attributes:
        parameters: number of trainable parameters.
        flops: FLOPs of one image's forward pass.
        latency_ms, latency_64_ms: median time of a forward pass in fp32 at batch 1 and at batch
            64, in milliseconds; None if not measured.
    """

    parameters: int
    flops: int
    latency_ms: float | None = None
    latency_64_ms: float | None = None


@dataclass(frozen=True)
class Timing:
    """Times of a forward pass, in milliseconds, over all timed passes.

    Attributes:
        median: half of the passes took at most this long.
        low, high: quartiles.
        p95: 95 % of the passes took at most this long.
    """

    median: float
    low: float
    high: float
    p95: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """Summarise the times of at least one pass, given in seconds."""
        low, median, high, p95 = 1000 * np.percentile(seconds, [25, 50, 75, 95])
        return cls(float(median), float(low), float(high), float(p95))

    def scaled(self, factor: float) -> Timing:
        """All times multiplied by a factor."""
        return Timing(*(factor * each for each in (self.median, self.low, self.high, self.p95)))


def count_costs(model: nn.Module, shape: tuple[int, int, int]) -> Costs:
    """Count parameters and FLOPs in one forward pass of a black image.

    Args:
        model: the network; it is not changed.
        shape: channels, height, width of an image.
    """
    parameters = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    counter = FlopCounterMode(display=False)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    # In inference_mode the counter fails on layers that compute their weights.
    with torch.no_grad(), counter:
        model(torch.zeros(1, *shape, device=device))
    model.train(was_training)
    return Costs(parameters, counter.get_total_flops() - _scatter_flops(model, counter))


def attention_flops(model: nn.Module, shape: tuple[int, int, int]) -> dict[str, int]:
    """FLOPs of one image outside the linear layers of each attention whose heads can be removed.

    Args:
        model: the network, in evaluation mode.
        shape: channels, height, width of an image.
    """
    names = [name for name, part in model.named_modules() if is_attention(part)]
    if not names:
        return {}
    counter, root = FlopCounterMode(display=False), type(model).__name__
    with torch.no_grad(), counter:
        model(torch.zeros(1, *shape, device=next(model.parameters()).device))
    counts = counter.get_flop_counts()

    def flops(name: str) -> int:
        return sum(counts.get(f"{root}.{name}", {}).values())

    return {
        name: flops(name)
        - sum(flops(f"{name}.{child}") for child, _ in model.get_submodule(name).named_children())
        for name in names
    }


def _scatter_flops(model: nn.Module, counter: FlopCounterMode) -> int:
    """FLOPs counted for scatters, whose product with ones and zeros only moves channels."""
    counts = counter.get_flop_counts()
    root = type(model).__name__
    scatters = [name for name, part in model.named_modules() if isinstance(part, Scatter)]
    return sum(sum(counts.get(f"{root}.{name}", {}).values()) for name in scatters)


def measure_latencies(
    models: Sequence[nn.Module],
    shape: tuple[int, int, int],
    device: torch.device,
    *,
    batch_size: int = 1,
    rounds: int,
) -> list[float]:
    """Measure the median time of each network's forward pass, in milliseconds.

    The networks take turns, so that a drift of the machine's speed affects all of them equally.

    Args:
        models: the networks; they are moved to ``device``, channels last, in evaluation mode.
        shape: channels, height, width of an image.
        batch_size: images per pass.
        rounds: timed passes of each network, after three untimed ones (one if ``batch_size`` is
            not 1).
    """
    images = torch.zeros(batch_size, *shape, device=device).to(memory_format=torch.channels_last)
    # A rebuilt network has contiguous weights; all networks must run with the same layout.
    models = [place(model, device).eval() for model in models]

    def passes(model: nn.Module) -> Callable[[], None]:
        def one_pass() -> None:
            wait_for(device)
            model(images)
            wait_for(device)

        return one_pass

    with torch.inference_mode(), exact_fp32(device.type):
        timings = time_in_turns([passes(model) for model in models], rounds, batch_size)
    return [timing.median for timing in timings]


def time_in_turns(
    passes: Sequence[Callable[[], object]], rounds: int, batch_size: int = 1
) -> list[Timing]:
    """Time several forward passes; they take turns, so that a drift of the speed affects all.

    Args:
        passes: functions that each run one forward pass to its end.
        rounds: timed calls of each function, after three untimed ones (one if ``batch_size`` is
            not 1).
    """
    unseen = 3 if batch_size == 1 else 1
    times: list[list[float]] = [[] for _ in passes]
    for turn in range(rounds + unseen):
        for one_pass, seen in zip(passes, times, strict=True):
            start = time.perf_counter()
            one_pass()
            if turn >= unseen:
                seen.append(time.perf_counter() - start)
    return [Timing.of(seen) for seen in times]
