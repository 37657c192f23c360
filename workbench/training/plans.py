"""The hyper-parameters of a training: epochs, batches, learning rates, seeds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from workbench.data.catalog import Source
from workbench.errors import counted
from workbench.models.networks import find_network

_WARM_UP = 0.25  # share of a one-cycle training in which the rate rises

_START = 0.04  # of the peak rate, at the first step of a one-cycle training


#: Fields of a plan that are recorded only if they are used.
LATER_OPTIONS = (
    "sparsity", "label_smoothing", "reflect", "ema", "mixup", "cutmix", "scale_dropout",
    "norm_parts",
    "orthogonality",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """All hyper-parameters of one training, as numbers.

    Attributes:
        epochs: at least 1.
        schedule: "paper" (constant, then a tenth after ``decay_epoch``) or "one-cycle".
        decay_epoch: for the paper's schedule.
        learning_rate: before the decay, or the peak of the cycle.
        batch_size: images per step, capped at the number of images.
        weight_decay: L2 penalty on all parameters.
        augment: random crops and flips, as far as the data set allows them.
        momentum: of SGD with Nesterov's correction.
        sparsity: weight of an L1 penalty on the scales of batch norms (network slimming).
        label_smoothing: share of the label that is spread over all classes, in [0, 1).
        reflect: the padding of crops mirrors the image; otherwise it is zero.
        ema: decay of the average of the weights (``weight_average``), in [0, 1); 0 is off.
        mixup, cutmix: alpha of the mixtures (``mixing``); 0 is off.
        scale_dropout: whoever makes the compressed network lowers its dropout rates
            (``scaled_dropout``).
        norm_parts: number of processes whose batch norms use their own part of the batch; 0 if
            they use the whole batch.
        orthogonality: weight beta of the penalty in ``orthogonality``; 0 is off.
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
    label_smoothing: float = 0.0
    reflect: bool = False
    ema: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    scale_dropout: bool = False
    norm_parts: int = 0
    orthogonality: float = 0.0

    @property
    def remedy(self) -> str:
        """What to do if the loss of this training is not a finite number."""
        rate = f"try a lower --lr (now {self.learning_rate:g})"
        if not self.orthogonality:
            return rate
        return f"{rate} or a lower --orthogonality (now {self.orthogonality:g})"

    def parts(self) -> dict[str, Any]:
        """The plan as plain data, with later options only if they are used.

        This keeps the keys and records of earlier versions valid.
        """
        known = asdict(self)
        return {name: value for name, value in known.items() if value or name not in LATER_OPTIONS}


def batch_sizes(images: int, batch_size: int) -> list[int]:
    """Sizes of an epoch's batches.

    Each has at most ``batch_size`` images. A last batch of one image is added to the batch before
    it, because batch norm cannot train on one image.

    Raises:
        ValueError: with fewer than two images or a batch size below 2.
    """
    if images < 2 or batch_size < 2:
        raise ValueError(f"cannot train {counted(images, 'image')} in batches of {batch_size}")
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
    """The plan for another number of epochs, with the decay at the same share of them."""
    decay = max(1, plan.decay_epoch * epochs // plan.epochs)
    return replace(plan, epochs=epochs, decay_epoch=decay)


def derive_seed(seed: int, purpose: str, number: int = 0) -> int:
    """Derive an independent seed for one purpose, so that random streams do not overlap."""
    entropy = [seed, number, *purpose.encode()]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


def training_plan(
    model: str,
    source: Source,
    schedule: str,
    *,
    epochs: int | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    weight_decay: float | None = None,
) -> Plan:
    """The network's default plan, with the given values replaced.

    With another number of epochs, the learning rate decays at the same share of them.
    """
    own = find_network(model).schedule
    length = epochs or own.epochs
    decay = own.weight_decay_of.get(source.name, own.weight_decay)
    return Plan(
        epochs=length,
        schedule=schedule,
        decay_epoch=max(1, round(length * own.decay_epoch / own.epochs)),
        learning_rate=own.learning_rate if lr is None else lr,
        batch_size=batch_size or own.batch_size,
        weight_decay=decay if weight_decay is None else weight_decay,
        augment=own.augment,
    )
