"""Batch norms over a whole batch that is divided among processes (method card).

Idea: each process of a training has a part of every batch. With the statistics of its own part, a
batch norm would compute another function than in one process.
Formula: the mean and then the biased variance of a channel are averages over all n values of all
processes, in two passes, so no small difference of large numbers is taken. With the normalised
values z, the gradient of the input is w / s (dy - (sum dy + z sum(z dy)) / n), whose two sums run
over all processes, too. The gradients of weight and bias are averaged later, with all the others.
Cost: three all-reduces per norm and step (two of them forward), of one or two numbers a channel.
When it does not help: for large parts (64 images a process) on a slow network, the waiting costs
more than the better statistics gain (``--no-sync-batch-norm``).

torch's ``SyncBatchNorm`` does the same on GPUs only; this one runs on both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn

from workbench.models.networks import BatchNorm


@contextmanager
def shared_norms(model: nn.Module) -> Iterator[None]:
    """Let all batch norms of a network in training mode use all processes' values in the block.

    Names and values of the network do not change; in evaluation mode it computes what it did.
    """
    norms = [part for part in model.modules() if isinstance(part, BatchNorm)]
    for norm in norms:
        norm.forward = partial(_normalise, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _normalise(norm: BatchNorm, x: Tensor) -> Tensor:
    """The output of a batch norm; its running statistics are updated in training mode."""
    if not norm.training:
        return type(norm).forward(norm, x)
    output, mean, variance, count = _SharedNorm.apply(x, norm.weight, norm.bias, norm.eps)
    if norm.running_mean is not None and norm.running_var is not None:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        rate = norm.momentum
        if rate is None:
            rate = 1 / float(norm.num_batches_tracked)
        unbiased = variance * (count / (count - 1))
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), rate)
        norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), rate)
    return output  # type: ignore[no-any-return]


class _SharedNorm(torch.autograd.Function):
    """Normalise the parts of a batch; output, mean, biased variance and number of values."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide = _wide(x)
        places = [place for place in range(x.ndim) if place != 1]
        own = wide.new_tensor([x.numel() / x.shape[1]])
        sums = _summed(torch.cat([wide.sum(places), own]))
        mean, count = sums[:-1] / sums[-1], sums[-1]
        centred = wide - _channels(mean, x)
        variance = _summed(centred.square().sum(places)) / count
        scale = torch.rsqrt(variance + eps)
        output = centred * _channels(scale, x)
        if weight is not None:
            output = output * _channels(weight, x)
        if bias is not None:
            output = output + _channels(bias, x)
        ctx.save_for_backward(x, weight, mean, scale, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return output.to(x.dtype), mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        x, weight, mean, scale, count = ctx.saved_tensors
        places = [place for place in range(x.ndim) if place != 1]
        wanted = _wide(gradients[0])
        normal = (_wide(x) - _channels(mean, x)) * _channels(scale, x)
        own = torch.cat([wanted.sum(places), (wanted * normal).sum(places)])
        along, across = (_summed(own.clone()) / count).chunk(2)
        inner = wanted - _channels(along, x) - normal * _channels(across, x)
        slope = scale if weight is None else scale * weight
        for_bias, for_weight = own.chunk(2)
        return (
            (inner * _channels(slope, x)).to(x.dtype),
            for_weight.to(weight.dtype) if ctx.needs_input_grad[1] else None,
            for_bias.to(mean.dtype) if ctx.needs_input_grad[2] else None,
            None,
        )


def _wide(x: Tensor) -> Tensor:
    """At least fp32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _channels(values: Tensor, x: Tensor) -> Tensor:
    """One value per channel, for arithmetic with ``x``."""
    return values.view(1, -1, *[1] * (x.ndim - 2))


def _summed(values: Tensor) -> Tensor:
    """The sum over all processes, in place."""
    distributed.all_reduce(values)
    return values
