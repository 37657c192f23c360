"""Stage ``multi-exit``: easy images leave the network early (method card; after MSDNet).

Idea: many images are easy, and a part of the network is enough for them. Exits at several depths
each give a class and a probability; an image leaves at the first exit with a high enough
probability.
Formula: exit k is a linear layer on the mean of each channel of the features at its depth. The
depths are those nearest to 1/(K+1), 2/(K+1), ... of the FLOPs for K exits. The image leaves where
max softmax >= threshold k. The thresholds follow from one number q (``exit_thresholds``), which is
chosen on held-out images: the cheapest within ``--exit-tolerance`` points of the last exit, or the
most accurate within ``--exit-flops``.
Training: the network is frozen, so its last exit stays as it was, bit for bit, and an exit is a
logistic regression on fixed features (Adam, rate 0.01 along a cosine, batches of 32, weight decay
1e-3, no augmentation, fixed seeds). MSDNet trains all exits jointly from the start, which makes
early exits better and changes the last one.
Held-out images: 20 % of the training images of each class, chosen as ``--validation`` chooses
them; test images have no influence. The exits do not learn from them, but the network did, so its
confidence on them is too high: on test images, fewer images leave early than planned, and the
tolerance may be missed. The row in the table is measured on test images.
Cost: one pass over the training images; the exits' training takes seconds.
When it does not help: where early features do not tell the classes apart, all images go to the last
exit. The savings are for single images: in a batch, the hardest image sets the time to wait. It
runs in torch only, which is slower than onnxruntime on small networks. Networks whose layers are
not one chain are rejected.
Measured: VGG-16 on S2, two classes of CIFAR-100 (200 test images, one seed): 97.5 % at 11 % of the
full network's FLOPs after pfa-fine with 97.0 % at 44 %; docs/deployment.md has the settings.

Huang, Chen, Li, Wu, van der Maaten, Weinberger, "Multi-Scale Dense Networks for Resource Efficient
Image Classification", ICLR 2018 (arXiv 1703.09844). Its network with several scales and dense
connections is not built; only its exits and its thresholds are used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench.compression.costs.costs import count_costs, time_in_turns
from workbench.data.augmentation import normalise
from workbench.data.image_batches import ImageSet, batches, spread
from workbench.data.validation_split import split_validation
from workbench.deployment.chosen_images import normalised_images
from workbench.deployment.exit_network import (
    MultiExit,
    chain_of,
    channels_of,
    costs_of,
    empty_head,
    exit_places,
    flops_of,
    load_exits,
    pooled,
    segments_of,
    write_exits,
)
from workbench.deployment.exit_thresholds import (
    ExitCosts,
    Exits,
    all_exits,
    within_budget,
    within_tolerance,
)
from workbench.deployment.settings import DeploymentSettings
from workbench.deployment.stage_types import StageReport, TrainedNetwork
from workbench.errors import SettingsError, TrainingError
from workbench.models.processor import exact_fp32
from workbench.models.weight_files import Card, read_card
from workbench.training.plans import batch_sizes, derive_seed

_HELD_OUT = 0.2  # share of each class's training images
_BATCH, _RATE, _DECAY, _PASS = 32, 0.01, 1e-3, 64
_ROUNDS = {1: 40, 64: 5}  # timed passes by batch size


@dataclass(frozen=True, eq=False)
class _Plan:
    """A network with places for exits."""

    segments: Sequence[nn.Module]
    places: Sequence[int]
    channels: Sequence[int]
    costs: ExitCosts


@dataclass(frozen=True, eq=False)
class _Answers:
    """What the network computes for images: labels, features of each exit, logits of the last."""

    labels: Tensor
    features: Sequence[Tensor]
    last: Tensor


def make_multi_exit(
    trained: TrainedNetwork, settings: DeploymentSettings, path: Path
) -> StageReport:
    """Train exits, choose their thresholds and write the network with them.

    Args:
        settings: ``exits``, ``exit_epochs``, ``exit_flops`` and ``exit_tolerance`` apply.
        path: file to write.

    Returns:
        Details hold ``depths`` (shares of the FLOPs), ``thresholds`` ("inf" for an exit that no
        image leaves), the ``losses`` of each exit, and, of the held-out images, their number
        ``held_out``, the ``accuracies`` of each exit alone, ``held_out_accuracy``,
        ``held_out_flops`` and ``held_out_shares`` with the thresholds.

    Raises:
        NetworkError: when the network is not a chain.
        SettingsError: when it has too few places, or ``--exit-flops`` is below the first exit.
        DataError: when a class has too few training images.
        TrainingError: when the loss of an exit is no longer a finite number.
    """
    card, network = trained.card, trained.network
    plan = _planned(network, card, settings.exits)
    learned, held = split_validation(trained.train, card.classes, _HELD_OUT)
    answers, held_answers = (_answers(plan, images, network, card) for images in (learned, held))
    heads, losses = [], []
    for number, features in enumerate(answers.features):
        head, last = _trained_head(
            number, features, answers.labels, len(card.classes), settings.exit_epochs
        )
        heads.append(head)
        losses.append(last)
    with torch.no_grad():
        every = [h(f) for h, f in zip(heads, held_answers.features, strict=True)]
    every.append(held_answers.last)
    confidences = np.stack([_confidence(logits) for logits in every[:-1]])
    correct = np.stack([(each.argmax(1) == held_answers.labels).cpu().numpy() for each in every])
    chosen = _chosen(all_exits(confidences, correct, plan.costs), float(correct[-1].mean()),
                     plan.costs, settings)  # fmt: skip
    exits = MultiExit(plan.segments, heads, chosen.thresholds.tolist())
    write_exits(path, card, network, plan.places, exits)
    details = {
        "depths": plan.costs.depths[:-1].tolist(),
        "thresholds": ["inf" if math.isinf(t) else t for t in chosen.thresholds.tolist()],
        "losses": losses,
        "held_out": len(held),
        "accuracies": correct.mean(axis=1).tolist(),
        "held_out_accuracy": chosen.accuracy,
        "held_out_flops": chosen.flops,
        "held_out_shares": list(chosen.shares),
    }
    return StageReport(details=details)


def check_exits(network: nn.Module, card: Card, settings: DeploymentSettings) -> None:
    """Check that a network of this form can have these exits, before it is trained.

    Raises:
        NetworkError, SettingsError: as for ``make_multi_exit``.
    """
    costs = _planned(network.eval(), card, settings.exits).costs
    _check_budget(costs, settings.exit_flops)


def exit_costs(path: Path, model: str | None, images: ImageSet) -> dict[str, float]:
    """What a file costs on images.

    Args:
        path: a file that ``make_multi_exit`` wrote.
        model: name of its network, if the user's own code defines it.
        images: their labels are not read.

    Returns:
        ``exit_1_share``, ``exit_2_share``, ... of the images, up to the last exit; expected costs
        as shares of those of the network without exits: ``flops_share``, ``latency_share`` (single
        images, in torch) and ``latency_64_share``; and ``parameters``, a number.
    """
    card = read_card(path)
    exits, network = load_exits(path, model)
    left = []
    with torch.inference_mode(), exact_fp32("cpu"):
        for pixels, _ in batches(images, _PASS, torch.device("cpu")):
            left.append(exits.leave(normalise(pixels, card))[1].numpy())
    at = np.concatenate(left)
    shares = np.bincount(at, minlength=len(exits.segments)) / len(at)
    segments = list(exits.segments)
    depths = [flops_of(segments[:number], card.shape) for number in range(1, len(segments) + 1)]
    channels = channels_of(segments, card.shape)
    costs = costs_of(
        channels, [each / depths[-1] for each in depths[:-1]], len(card.classes), depths[-1]
    )
    own = sum(value.numel() for value in exits.heads.parameters())
    one, many = _latency_shares(exits, network, card, images, shares)
    return {
        **{f"exit_{number}_share": float(each) for number, each in enumerate(shares, start=1)},
        "flops_share": float((shares * costs.of(np.array(exits.thresholds))).sum()),
        "latency_share": one,
        "latency_64_share": many,
        "parameters": own + count_costs(network, card.shape).parameters,
    }


def _planned(network: nn.Module, card: Card, exits: int) -> _Plan:
    chain = chain_of(network, card.shape)
    places, shares = exit_places(chain, card.shape, exits)
    segments = segments_of(chain, places)
    channels = channels_of(segments, card.shape)
    flops = count_costs(network, card.shape).flops
    return _Plan(segments, places, channels, costs_of(channels, shares, len(card.classes), flops))


def _answers(plan: _Plan, images: ImageSet, network: nn.Module, card: Card) -> _Answers:
    device = next(network.parameters()).device
    labels, last = [], []
    features: list[list[Tensor]] = [[] for _ in plan.places]
    with torch.no_grad(), exact_fp32(device.type):
        for pixels, wanted in batches(images, _PASS, device):
            seen = normalise(pixels, card)
            for segment, found in zip(plan.segments[:-1], features, strict=True):
                seen = segment(seen)
                found.append(pooled(seen))
            last.append(plan.segments[-1](seen))
            labels.append(wanted)
    return _Answers(torch.cat(labels), [torch.cat(each) for each in features], torch.cat(last))


def _trained_head(
    number: int, features: Tensor, labels: Tensor, classes: int, epochs: int
) -> tuple[nn.Linear, float]:
    """A linear layer on features (n, c), and its mean loss in the last epoch.

    It learns from standardised features; their mean and spread are folded into it.
    """
    mean, spread = features.mean(0), features.std(0, correction=0)
    spread = torch.where(spread > 1e-6, spread, 1)  # a channel that never changes
    inputs = (features - mean) / spread
    head = empty_head(features.shape[1], classes, features.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.Adam(head.parameters(), lr=_RATE, weight_decay=_DECAY)
    sizes = batch_sizes(len(labels), _BATCH)
    steps, step, loss = epochs * len(sizes), 0, 0.0
    for epoch in range(epochs):
        drawn = np.random.default_rng(derive_seed(number, "multi-exit", epoch))
        order = torch.from_numpy(drawn.permutation(len(labels))).to(labels.device)
        total = torch.zeros((), device=labels.device)
        for places in torch.split(order, sizes):
            optimizer.param_groups[0]["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
            found = nn.functional.cross_entropy(head(inputs[places]), labels[places])
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(found)
            optimizer.step()
            total += found.detach() * len(places)
            step += 1
        loss = float(total) / len(labels)
        if not math.isfinite(loss):
            raise TrainingError(
                f"multi-exit: the loss of exit {number + 1} is {loss} after epoch {epoch + 1}; the "
                "network's features are not finite; train it with a lower --lr"
            )
    with torch.no_grad():
        head.weight.div_(spread)
        head.bias.sub_(head.weight @ mean)
    return head, loss


def _confidence(logits: Tensor) -> NDArray[np.float64]:
    """Largest probability of each image, rounded to float32 as in ``MultiExit``."""
    return logits.softmax(1).amax(1).cpu().numpy().astype(np.float64)


def _chosen(
    choices: tuple[Exits, ...], last: float, costs: ExitCosts, settings: DeploymentSettings
) -> Exits:
    if settings.exit_flops is None:
        return within_tolerance(choices, last, settings.exit_tolerance)
    _check_budget(costs, settings.exit_flops)
    chosen = within_budget(choices, settings.exit_flops)
    assert chosen is not None  # all images may leave at the first exit
    return chosen


def _check_budget(costs: ExitCosts, flops: float | None) -> None:
    least = float(costs.depths[0] + costs.heads[0])
    if flops is not None and flops < least:
        # Rounded up, so that the value that is named is possible.
        possible = math.ceil(1000 * least) / 1000
        raise SettingsError(
            f"--exit-flops {flops:g}: the first exit costs {possible:g} of the network's FLOPs; "
            "use at least this, or more --exits"
        )


def _latency_shares(
    exits: MultiExit,
    network: nn.Module,
    card: Card,
    images: ImageSet,
    shares: NDArray[np.float64],
) -> tuple[float, float]:
    """Expected latencies as shares of those without exits: of single images, and of 64 together.

    A single image is timed up to every exit, and the times are weighted with the shares of the
    images. The batch is of real images. Lower quartiles are compared, because other work on the
    machine only makes times longer.
    """
    chosen = normalised_images(images, spread(len(images), 64), card)
    batch = torch.from_numpy(chosen).to(memory_format=torch.channels_last)
    with torch.inference_mode(), exact_fp32("cpu"):
        places = range(len(shares))
        ones = [lambda at=at: exits.leave_at(batch[:1], at) for at in places]
        single = time_in_turns([lambda: network(batch[:1]), *ones], _ROUNDS[1])
        both = time_in_turns([lambda: network(batch), lambda: exits(batch)], _ROUNDS[64], 64)
    expected = sum(share * time.low for share, time in zip(shares, single[1:], strict=True))
    return float(expected / single[0].low), both[1].low / both[0].low
