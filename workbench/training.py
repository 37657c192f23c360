"""One training loop for every network, and the evaluation that ends it.

``fit`` reads top to bottom: draw the epoch's order and views, walk over the batches, step.
All randomness of an epoch is drawn anew from (seed, epoch), so a training that was cut off
goes on from its last epoch with the numbers that it would have had undisturbed.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from workbench.catalog import Source
from workbench.data.augmentation import normalise
from workbench.data.feeds import Feed, ImageSet, batches, open_feed
from workbench.distillation import Teacher
from workbench.errors import TrainingError
from workbench.models.networks import place, scaled_norms
from workbench.processor import Processor, exact_fp32

_WARM_UP = 0.25  # share of a one-cycle training in which the rate rises
_START = 0.04  # of the peak rate, at the first step of a one-cycle training
_EVALUATION_BATCH = 500
_TOP = 5


@dataclass(frozen=True)
class Plan:
    """Everything that shapes one training, resolved to numbers.

    Attributes:
        epochs: at least 1.
        schedule: "paper" (constant, then a tenth after ``decay_epoch``) or "one-cycle".
        decay_epoch: of the paper's schedule.
        learning_rate: before the decay, or the peak of the cycle.
        batch_size: images a step, capped at the number of images.
        weight_decay: L2 penalty on all parameters.
        augment: random crops and flips, as far as the data set allows them.
        momentum: of SGD with Nesterov's correction.
        sparsity: weight of an L1 penalty on the scales of batch norms (network slimming).
    """

    epochs: int
    schedule: str
    decay_epoch: int
    learning_rate: float
    batch_size: int
    weight_decay: float
    augment: bool
    momentum: float = 0.9
    sparsity: float = 0.0

    def parts(self) -> dict[str, Any]:
        """The plan as plain data; a penalty is named only where there is one."""
        known = asdict(self)
        if not self.sparsity:
            del known["sparsity"]
        return known


@dataclass(frozen=True)
class Epoch:
    """What one epoch left behind: its number from 1, mean training loss, last learning rate."""

    number: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Progress:
    """State of a training after an epoch: all epochs so far and the seconds they took."""

    epochs: tuple[Epoch, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often ``fit`` writes down its state.

    Attributes:
        path: a safetensors file; written beside itself first, then moved into place.
        key: of the training; a file of another training is not taken up.
        every: least seconds between two writings.
    """

    path: Path
    key: str
    every: float = 0.0


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

    Returns:
        Every epoch's loss and rate, and the seconds spent, those before a resume included.

    Raises:
        TrainingError: when the loss is no longer a number.
    """
    device = processor.torch_device
    place(model, device).train()
    if teacher:
        place(teacher.network, device).eval()
    feed = open_feed(images, source, device)
    optimizer = make_optimizer(model.parameters(), plan)
    progress = _take_up(checkpoint, model, optimizer) if checkpoint else Progress()
    saved = time.monotonic()
    with _reproducible(device):
        for number in range(len(progress.epochs) + 1, plan.epochs + 1):
            start = time.perf_counter()
            total, rate = _train_epoch(
                model, optimizer, feed, len(images), source, plan, number, seed, processor, teacher
            )
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
        loss = nn.functional.cross_entropy(logits.float(), labels)
        if teacher and wanted is not None:
            loss = teacher.mix(loss, logits.float(), wanted.float())
        if scales:
            loss = loss + plan.sparsity * torch.stack([s.abs().sum() for s in scales]).sum()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        total += loss.detach() * len(labels)
    return total, rate


def evaluate(
    model: nn.Module, images: ImageSet, source: Source, processor: Processor
) -> tuple[int, int]:
    """Number of images whose class the network names, in evaluation mode and fp32.

    Returns:
        At its first guess, and within its first five (all there are, of fewer classes).
    """
    device = processor.torch_device
    place(model, device).eval()
    hits = torch.zeros(2, dtype=torch.int64, device=device)
    with torch.inference_mode(), exact_fp32(device.type):
        for inputs, labels in batches(images, _EVALUATION_BATCH, device):
            logits = model(normalise(inputs, source))
            among = logits.topk(min(_TOP, logits.shape[1]), dim=1).indices == labels[:, None]
            hits[0] += (logits.argmax(dim=1) == labels).sum()
            hits[1] += among.sum()
    first, top = hits.tolist()
    return first, top


def _norm_scales(model: nn.Module) -> list[Tensor]:
    return [norm.weight for norm in scaled_norms(model).values()]


def batch_sizes(images: int, batch_size: int) -> list[int]:
    """Sizes of an epoch's batches.

    At most ``batch_size`` images each; a last batch of one joins the one before it, because
    batch norm cannot train on one image.

    Raises:
        ValueError: with fewer than two images or a batch size below 2.
    """
    if images < 2 or batch_size < 2:
        raise ValueError(f"cannot train {images} image(s) in batches of {batch_size}")
    sizes = [batch_size] * (images // batch_size)
    rest = images % batch_size
    if rest == 1 and sizes:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes


def learning_rate(plan: Plan, step: int, steps: int) -> float:
    """Learning rate of one step of ``steps``, counted from 0.

    "paper": constant, a tenth after ``decay_epoch``. "one-cycle": linearly from 4 % of the
    peak to the peak in the first quarter, then along a cosine down to 0.
    """
    if plan.schedule == "paper":
        return plan.learning_rate * (0.1 if step * plan.epochs >= plan.decay_epoch * steps else 1)
    peak = _WARM_UP * steps
    if step < peak:
        return plan.learning_rate * (_START + (1 - _START) * step / peak)
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - peak) / (steps - peak)))


def fit_to(plan: Plan, images: int) -> Plan:
    """The plan with its batch size capped at the number of images."""
    return replace(plan, batch_size=min(plan.batch_size, images))


def stretch(plan: Plan, epochs: int) -> Plan:
    """The plan for another number of epochs, its decay at the same share of them."""
    decay = max(1, plan.decay_epoch * epochs // plan.epochs)
    return replace(plan, epochs=epochs, decay_epoch=decay)


def derive_seed(seed: int, purpose: str, number: int = 0) -> int:
    """An independent seed for one purpose, so that no two streams of numbers overlap."""
    entropy = [seed, number, *purpose.encode()]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write safetensors so that a reader sees the whole file or none.

    Raises:
        OSError: when it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save_file({name: t.contiguous() for name, t in tensors.items()}, part, metadata)
        os.replace(part, path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))  # a full disk comes as text alone
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """Leave the caller's random state as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _write_down(
    checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.SGD, progress: Progress
) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for name, weight in model.named_parameters():
        tensors[f"momentum.{name}"] = optimizer.state[weight]["momentum_buffer"]
    metadata = {"key": checkpoint.key, "progress": json.dumps(asdict(progress))}
    save_tensors(tensors, checkpoint.path, metadata)


def _take_up(checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.SGD) -> Progress:
    """Load the state of a training that was cut off; nothing happens without one."""
    try:
        with safe_open(checkpoint.path, framework="pt") as file:
            metadata: dict[str, Any] = file.metadata() or {}
        if metadata.get("key") != checkpoint.key:
            return Progress()
        tensors = load_file(checkpoint.path)
    except (OSError, SafetensorError):
        return Progress()  # none there, or cut off by a full disk: start anew
    model.load_state_dict({name[6:]: t for name, t in tensors.items() if name.startswith("model.")})
    for name, weight in model.named_parameters():
        buffer = tensors[f"momentum.{name}"].to(weight.device)
        # The fused step wants the buffer in the weight's own memory layout.
        optimizer.state[weight]["momentum_buffer"] = torch.empty_like(weight).copy_(buffer)
    saved = json.loads(metadata["progress"])
    return Progress(tuple(Epoch(**epoch) for epoch in saved["epochs"]), saved["seconds"])
