"""The processes of a training that ``torchrun`` has started; without it, there is one.

The first process executes the command. The others wait until it begins a training, take their
part of every batch, and wait again (``following``). So only the first one reads options, knows
the store, shows progress and writes files. In one process, all functions here do nothing.

Images, network and teacher of a training are sent to the other processes. Files of a streamed
folder are not: each process decodes its own part, under the same path on every machine.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from workbench.data.catalog import Source
from workbench.data.image_batches import WHOLE, ImageSet, Share
from workbench.errors import ProcessError, SettingsError, TrainingError, WorkbenchError, counted
from workbench.models.processor import Processor
from workbench.training.checkpoints import Handover
from workbench.training.distillation import Guide
from workbench.training.plans import Plan, batch_sizes, derive_seed
from workbench.training.shared_dropout import Masks, shared_dropout
from workbench.training.shared_norms import shared_norms

Item = TypeVar("Item")
#: The others wait while the first process analyses, evaluates or waits for a lock.
_PATIENCE = timedelta(days=30)
#: What torchrun tells a process. Commands that this process starts must not believe that it is
#: meant for them.
_TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID")


@dataclass
class _Team:
    """The state of this process.

    Attributes:
        share: its part of every batch.
        local: number of processes on this machine.
        in_step: whether all processes still do the same; otherwise they cannot work together
            any more.
        masks: of the dropouts of the present training.
    """

    share: Share = WHOLE
    local: int = 1
    in_step: bool = True
    masks: Masks | None = None


_team = _Team()


def join() -> bool:
    """Meet the other processes; return whether this is the first one."""
    place, cuda = int(os.environ["LOCAL_RANK"]), torch.cuda.is_available()
    if cuda and place < torch.cuda.device_count():
        torch.cuda.set_device(place)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=_PATIENCE)
    _team.share = Share(distributed.get_rank(), distributed.get_world_size())
    _team.local = int(os.environ["LOCAL_WORLD_SIZE"])
    for name in _TOLD:
        os.environ.pop(name, None)
    return is_first()


def leave() -> None:
    """End the other processes; the first process calls this at its end."""
    if _team.in_step:
        with _explained("another process has ended before the command"):
            _send(None)


def is_first() -> bool:
    """Whether this process executes the command."""
    return _team.share.number == 0


def are_in_step() -> bool:
    """Whether the processes can work together: no training has failed in only some of them."""
    return _team.in_step


def share() -> Share:
    """This process's part of every batch."""
    return _team.share


def own_seed(seed: int) -> int:
    """The seed of random numbers that are drawn for this process's part alone.

    It is the given seed in the first process, and so in one process.
    """
    number = _team.share.number
    return derive_seed(seed, "process", number) if number else seed


def seed_dropout(seed: int, epoch: int) -> None:
    """Seed the random numbers of layers for an epoch."""
    torch.manual_seed(derive_seed(own_seed(seed), "dropout", epoch))
    if _team.masks:
        _team.masks.generator.manual_seed(derive_seed(seed, "dropout", epoch))


@dataclass(frozen=True, eq=False)
class SharedTraining:
    """A training as the other processes receive it: arguments of ``loop.fit``."""

    model: nn.Module
    images: ImageSet
    source: Source
    plan: Plan
    seed: int
    processor: Processor
    teacher: Guide | None
    handover: Handover


def send_training(
    model: nn.Module,
    images: ImageSet,
    source: Source,
    plan: Plan,
    seed: int,
    processor: Processor,
    teacher: Guide | None,
    handover: Callable[[], Handover],
) -> None:
    """Let the other processes begin the training that the first one has prepared.

    Args:
        handover: returns its state.

    Raises:
        SettingsError: when there are more processes than images in a batch, or than GPUs.
        ProcessError: when the processes cannot work together any more.
    """
    if _team.share.count == 1 or not is_first():
        return
    if not _team.in_step:
        raise ProcessError("an earlier training has failed; run the same command again")
    _check_count(plan, len(images), processor)
    _send(SharedTraining(model, images, source, plan, seed, processor, teacher, handover()))


def _check_count(plan: Plan, images: int, processor: Processor) -> None:
    count, gpus = _team.share.count, torch.cuda.device_count()
    if processor.device == "cuda" and _team.local > gpus:
        raise SettingsError(
            f"torchrun has started {_team.local} processes on a machine with "
            f"{counted(gpus, 'GPU')}; use --nproc-per-node {gpus}"
        )
    smallest = min(batch_sizes(images, plan.batch_size))
    least = 2 if plan.norm_parts else 1  # a batch norm cannot train on one image
    if smallest < least * count:
        raise SettingsError(
            f"the smallest batch of this training has {smallest} images, fewer than {least} for "
            f"each of the {count} processes; use fewer processes or another --batch-size"
        )


def next_training() -> SharedTraining | None:
    """The first process's next training; None at the end of its command."""
    with _explained("the first process has ended before its command"):
        length = torch.zeros(1, dtype=torch.int64)
        distributed.broadcast(length, 0)
        if not length.item():
            return None
        content = torch.empty(int(length), dtype=torch.uint8)
        distributed.broadcast(content, 0)
    file = io.BytesIO(content.numpy().tobytes())
    # The sender is the first process of this very command, so its pickle is not a stranger's.
    training: SharedTraining = torch.load(file, map_location="cpu", weights_only=False)
    return training


def _send(training: SharedTraining | None) -> None:
    file = io.BytesIO()
    if training is not None:
        torch.save(training, file)
    content = torch.frombuffer(bytearray(file.getvalue() or b"\0"), dtype=torch.uint8)
    length = torch.tensor([len(file.getvalue())])
    distributed.broadcast(length, 0)
    if length.item():
        distributed.broadcast(content, 0)


@contextmanager
def together(model: nn.Module, plan: Plan) -> Iterator[nn.Module]:
    """Train a network on the parts of all processes inside the block.

    Yields:
        The network to call; its gradients are the means over the processes.

    Raises:
        ProcessError: when another process has ended.
    """
    if _team.share.count == 1:
        yield model
        return
    _team.in_step = False
    lost = "another process of this training has ended; read its message, then run the same command"
    try:
        with _explained(f"{lost} again to continue"), ExitStack() as stack:
            device = next(model.parameters()).device
            _team.masks = Masks(_team.share, torch.Generator(device))
            stack.enter_context(shared_dropout(model, _team.masks))
            if not plan.norm_parts:
                stack.enter_context(shared_norms(model))
            yield nn.parallel.DistributedDataParallel(model)
        _team.in_step = True
    except TrainingError:  # the loss is the same in all processes
        _team.in_step = True
        raise


@contextmanager
def _explained(problem: str) -> Iterator[None]:
    """Raise a ProcessError with this problem if a call to the other processes fails inside."""
    try:
        yield
    except RuntimeError as error:
        # gloo has no error of its own.
        if isinstance(error, distributed.DistError) or "gloo" in str(error):
            raise ProcessError(problem) from error
        raise


def in_step(batches: Iterator[Item], sizes: Sequence[int]) -> Iterator[Item]:
    """The same batches; if one process cannot read its next one, all of them stop.

    Args:
        sizes: of the whole batches.

    Raises:
        ProcessError: the error of the first process that has one, in all processes.
    """
    if _team.share.count == 1:
        yield from batches
        return
    assert _team.masks is not None  # the caller is inside together()
    for size in sizes:
        batch, problem = None, ""
        try:
            batch = next(batches, None)
        except WorkbenchError as error:
            problem = "; ".join(error.problems)
        _raise_common(problem)
        assert batch is not None
        _team.masks.size = size
        yield batch


def _raise_common(problem: str) -> None:
    """Raise the problem of any process in all of them."""
    failed = torch.tensor([int(bool(problem))])
    distributed.all_reduce(failed)
    if not failed.item():
        return
    problems: list[str] = [""] * _team.share.count
    distributed.all_gather_object(problems, problem)
    _team.in_step = True
    number, first = next((n, text) for n, text in enumerate(problems) if text)
    raise ProcessError(first if not number else f"process {number}: {first}")


def weighted(loss: Tensor, own: int, size: int) -> Tensor:
    """The loss whose mean over the processes is that of the whole batch.

    Args:
        loss: mean over the process's images.
        own, size: number of images of the process and of the whole batch.
    """
    count = _team.share.count
    return loss if count == 1 else loss * (own * count / size)


def summed(value: Tensor) -> Tensor:
    """The sum over all processes."""
    if _team.share.count > 1:
        distributed.all_reduce(value)
    return value
