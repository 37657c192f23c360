"""One training loop for every network, and the evaluation that ends it.

``fit`` reads top to bottom: draw the epoch's order and views, walk over the batches, step.
All randomness of an epoch is drawn anew from (seed, epoch), so a training that was cut off
goes on from its last epoch with the numbers that it would have had undisturbed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from workbench.data.augmentation import normalise
from workbench.data.catalog import Source
from workbench.data.feeds import Feed, ImageSet, open_feed
from workbench.errors import TrainingError
from workbench.models.networks import place, scaled_norms
from workbench.models.processor import Processor
from workbench.training.checkpoints import Checkpoint, Epoch, Progress, _take_up, _write_down
from workbench.training.distillation import Teacher
from workbench.training.plans import Plan, batch_sizes, derive_seed, learning_rate


def fit(
    model: nn.Module,
    images: ImageSet,
    source: Source,
    plan: Plan,
    *,
    seed: int,
    processor: Processor,
    teacher: Teacher | None = None,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_step: Callable[[int, int, int], None] = lambda epoch, step, steps: None,
) -> Progress:
    """Train a network in place.

    Args:
        model: the network; it is moved to the processor's device.
        images: training images.
        source: the data set that they come from (normalisation, crop, flip).
        plan: the training.
        seed: draws order, views and dropout masks; not the initial weights.
        processor: device and precision.
        teacher: whose probabilities the network learns beside the labels.
        checkpoint: where the state is kept; a training found there goes on.
        on_epoch: called after each epoch.
        on_step: called after each step with the epoch's number, the step's, and steps an epoch.

    Returns:
        Every epoch's loss and rate, and the seconds spent, those before a resume included.

    Raises:
        TrainingError: when the loss is no longer a number.
    """
    device = processor.torch_device
    place(model, device).train()
    if teacher:
        place(teacher.network, device).eval()
    feed = open_feed(images, source, device, reflect=plan.reflect)
    optimizer = make_optimizer(model.parameters(), plan)
    progress = _take_up(checkpoint, model, optimizer) if checkpoint else Progress()
    saved = time.monotonic()
    with _reproducible(device):
        for number in range(len(progress.epochs) + 1, plan.epochs + 1):
            start = time.perf_counter()
            total, rate = _train_epoch(
                model, optimizer, feed, len(images), source, plan, number, seed, processor,
                teacher, on_step,
            )  # fmt: skip
            # Between two epochs the host waits for the device; within one it never does.
            epoch = Epoch(number, total.item() / len(images), rate)
            if not math.isfinite(epoch.loss):
                raise TrainingError(
                    f"the training loss is {epoch.loss} after epoch {number}; try a lower --lr "
                    f"(now {plan.learning_rate:g})"
                )
            seconds = progress.seconds + time.perf_counter() - start
            progress = Progress((*progress.epochs, epoch), seconds)
            last = number == plan.epochs
            if checkpoint and not last and time.monotonic() - saved >= checkpoint.every:
                _write_down(checkpoint, model, optimizer, progress)
                saved = time.monotonic()
            on_epoch(epoch)
    return progress


def make_optimizer(parameters: Iterable[Tensor], plan: Plan) -> torch.optim.SGD:
    """SGD with Nesterov's momentum over the parameters."""
    return torch.optim.SGD(
        parameters,
        lr=plan.learning_rate,
        momentum=plan.momentum,
        weight_decay=plan.weight_decay,
        nesterov=plan.momentum > 0,
        fused=True,
    )


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.SGD,
    feed: Feed,
    images: int,
    source: Source,
    plan: Plan,
    number: int,
    seed: int,
    processor: Processor,
    teacher: Teacher | None,
    on_step: Callable[[int, int, int], None],
) -> tuple[Tensor, float]:
    """One pass over the images: the summed loss, still on the device, and the last rate."""
    device = processor.torch_device
    sizes = batch_sizes(images, plan.batch_size)
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", number))
    torch.manual_seed(derive_seed(seed, "dropout", number))
    total = torch.zeros((), device=device)
    scales = _norm_scales(model) if plan.sparsity else []
    rate = 0.0
    for index, (inputs, labels) in enumerate(feed(sizes, plan.augment, generator)):
        rate = learning_rate(plan, (number - 1) * len(sizes) + index, plan.epochs * len(sizes))
        optimizer.param_groups[0]["lr"] = rate
        inputs = normalise(inputs, source)
        with torch.autocast(device.type, torch.bfloat16, processor.precision == "bf16"):
            logits = model(inputs)
            wanted = teacher.logits(inputs) if teacher else None
        loss = nn.functional.cross_entropy(
            logits.float(), labels, label_smoothing=plan.label_smoothing
        )
        if teacher and wanted is not None:
            loss = teacher.mix(loss, logits.float(), wanted.float())
        if scales:
            loss = loss + plan.sparsity * torch.stack([s.abs().sum() for s in scales]).sum()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        total += loss.detach() * len(labels)
        on_step(number, index + 1, len(sizes))
    return total, rate


def _norm_scales(model: nn.Module) -> list[Tensor]:
    return [norm.weight for norm in scaled_norms(model).values()]


@contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """Leave the caller's random state as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
