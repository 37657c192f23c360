"""The training loop of all networks.

In each epoch, ``fit`` draws the order and the views of the images and takes one step per batch.
The random numbers of an epoch depend on (seed, epoch) alone, so an interrupted training
continues from its last saved epoch with the same numbers as an uninterrupted one.

Several processes can share a training; in one process, the calls of ``processes`` do nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from workbench.data.augmentation import normalise
from workbench.data.catalog import Source
from workbench.data.image_batches import Feed, ImageSet, open_feed
from workbench.errors import TrainingError
from workbench.models.networks import place, scaled_norms
from workbench.models.processor import Processor
from workbench.training import processes
from workbench.training.checkpoints import (
    Checkpoint,
    Epoch,
    Handover,
    Progress,
    _take_up,
    _write_down,
    handover_of,
    take_over,
)
from workbench.training.distillation import Guide
from workbench.training.mixing import Mixture, label_loss, mixer_of
from workbench.training.norm_statistics import estimate_norms
from workbench.training.orthogonality import penalised_layers, penalty, weights_of
from workbench.training.plans import Plan, batch_sizes, derive_seed, learning_rate
from workbench.training.weight_average import WeightAverage


def fit(
    model: nn.Module,
    images: ImageSet,
    source: Source,
    plan: Plan,
    *,
    seed: int,
    processor: Processor,
    teacher: Guide | None = None,
    checkpoint: Checkpoint | None = None,
    handover: Handover | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_step: Callable[[int, int, int], None] = lambda epoch, step, steps: None,
) -> Progress:
    """Train a network in place.

    Args:
        model: the network; it is moved to the processor's device.
        images: training images.
        source: the data set that they come from (normalisation, crop, flip).
        plan: schedule and hyper-parameters.
        seed: determines order, views and dropout masks, but not the initial weights.
        processor: device and precision.
        teacher: the network learns from it in addition to the labels.
        checkpoint: where the state is saved; a training found there is resumed.
        handover: the state of the training in the first process, for the other ones.
        on_epoch: called after each epoch.
        on_step: called after each step with the epoch's number, the step's number, and the
            number of steps per epoch.

    Returns:
        Loss and learning rate of every epoch, and the seconds spent, including those before a
        resume.

    Raises:
        TrainingError: when the loss is no longer a finite number.
    """
    device = processor.torch_device
    place(model, device).train()
    if teacher:
        teacher.prepare(device)
    feed = open_feed(images, source, device, reflect=plan.reflect)
    optimizer = make_optimizer(model.parameters(), plan)
    average = WeightAverage(model, plan.ema) if plan.ema and plan.epochs else None
    progress = _take_up(checkpoint, model, optimizer, average) if checkpoint else Progress()
    if handover:
        progress = take_over(handover, model, optimizer, average)
    state = partial(handover_of, progress, model, optimizer, average)
    processes.send_training(model, images, source, plan, seed, processor, teacher, state)
    saved = time.monotonic()
    taught = teacher.attached(model) if teacher else nullcontext()
    with _reproducible(device), taught, processes.together(model, plan) as network:
        for number in range(len(progress.epochs) + 1, plan.epochs + 1):
            start = time.perf_counter()
            total, rate = _train_epoch(
                network, optimizer, feed, len(images), source, plan, number, seed, processor,
                teacher, average, on_step,
            )  # fmt: skip
            # The host waits for the device between two epochs, and never within one.
            epoch = Epoch(number, total.item() / len(images), rate)
            if not math.isfinite(epoch.loss):
                raise TrainingError(
                    f"the training loss is {epoch.loss} after epoch {number}; {plan.remedy}"
                )
            seconds = progress.seconds + time.perf_counter() - start
            progress = Progress((*progress.epochs, epoch), seconds)
            last = number == plan.epochs
            if checkpoint and not last and time.monotonic() - saved >= checkpoint.every:
                _write_down(checkpoint, model, optimizer, average, progress)
                saved = time.monotonic()
            on_epoch(epoch)
    if average and processes.is_first():
        average.hand_over()
        estimate_norms(model, feed, len(images), source, batch_size=plan.batch_size, seed=seed)
    return progress


def make_optimizer(parameters: Iterable[Tensor], plan: Plan) -> torch.optim.SGD:
    """Create the SGD optimiser of the parameters, with Nesterov's momentum."""
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
    teacher: Guide | None,
    average: WeightAverage | None,
    on_step: Callable[[int, int, int], None],
) -> tuple[Tensor, float]:
    """Train for one epoch; return the summed loss, still on the device, and the last rate."""
    device = processor.torch_device
    sizes = batch_sizes(images, plan.batch_size)
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", number))
    processes.seed_dropout(seed, number)
    total = torch.zeros((), device=device)
    penalties = _penalties(model, plan)
    mixer = mixer_of(plan, processes.own_seed(seed), number)
    rate = 0.0
    batches = processes.in_step(feed(sizes, plan.augment, generator, processes.share()), sizes)
    for index, (inputs, labels) in enumerate(batches):
        rate = learning_rate(plan, (number - 1) * len(sizes) + index, plan.epochs * len(sizes))
        optimizer.param_groups[0]["lr"] = rate
        inputs = normalise(inputs, source)
        mixture = mixer.draw(inputs) if mixer else None
        inputs = mixture.images(inputs) if mixture else inputs
        with torch.autocast(device.type, torch.bfloat16, processor.precision == "bf16"):
            logits = model(inputs)
            wanted = teacher.logits(inputs) if teacher else None
        loss = _loss(logits, labels, wanted, plan, teacher, mixture)
        for term in penalties:
            loss = loss + term()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(processes.weighted(loss, len(labels), sizes[index]))
        if teacher:
            teacher.take_step(rate / plan.learning_rate)
        optimizer.step()
        if average:
            average.update((number - 1) * len(sizes) + index)
        total += loss.detach() * len(labels)
        on_step(number, index + 1, len(sizes))
    return processes.summed(total), rate


def _loss(
    logits: Tensor,
    labels: Tensor,
    wanted: Tensor | None,
    plan: Plan,
    teacher: Guide | None,
    mixture: Mixture | None,
) -> Tensor:
    """Mean loss of a batch: on its labels, mixed with the loss on the teacher's logits if any."""
    on_labels = partial(label_loss, labels=labels, smoothing=plan.label_smoothing, mixture=mixture)
    if teacher and wanted is not None:
        return teacher.mix(on_labels, logits.float(), wanted.float())
    return on_labels(logits.float())


def _penalties(model: nn.Module, plan: Plan) -> list[Callable[[], Tensor]]:
    """The plan's penalties on the weights, each a term of every batch's loss."""
    terms: list[Callable[[], Tensor]] = []
    scales = [norm.weight for norm in scaled_norms(model)] if plan.sparsity else []
    if scales:
        terms.append(lambda: plan.sparsity * torch.stack([s.abs().sum() for s in scales]).sum())
    layers = penalised_layers(model) if plan.orthogonality else {}
    if layers:
        terms.append(lambda: plan.orthogonality * penalty(weights_of(model, layers)))
    return terms


@contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """Use cuDNN's deterministic kernels, and restore the caller's random state afterwards."""
    chosen = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        torch.backends.cudnn.deterministic = chosen
