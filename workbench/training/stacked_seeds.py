"""Training of several seeds of one protocol together, with shared kernel launches (method card).

Idea: on a GPU, the launch of many small kernels limits a training on a thousand images, not the
arithmetic. The seeds of a protocol launch the same kernels, so stacked networks can share them.
Formula: the parameters of S networks of one shape are stacked along a new first dimension, and the
network runs under ``torch.vmap``, which turns S convolutions into one grouped convolution. SGD
works value by value, so one optimiser over the stacks is equivalent to S optimisers. Each seed has
its own initial weights, order, views and dropout masks, from the same generators as in separate
trainings. Sums are computed in another order, so the weights agree up to rounding, not bit by bit.
This is tested on a CPU; on a GPU, torch may draw dropout masks in another order, which is not
tested yet.
Cost: S times the memory; at most ``stacked_training.MOST_AT_ONCE`` seeds are stacked.
When it does not help: on a CPU, or wherever arithmetic is the limit, because grouped convolutions
are slower there than plain ones. ``pays`` is therefore true only on a GPU and for small sets.
Networks that draw random numbers other than for dropout (stochastic depth), or that call one
dropout twice, cannot be stacked: RuntimeError.

The alternatives are CUDA graphs, which need static shapes and one capture per protocol, and one
stream per seed, which shares no launches. Only stacking can be tested against ``training.fit`` on
any processor: in float64 the weights agree to 1e-8. On an H100, beside other work, three seeds of
VGG-16 on 1,000 images were trained 0.90 to 1.02 times as fast as one by one.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from workbench.data.augmentation import normalise
from workbench.data.catalog import Source
from workbench.data.image_batches import Feed, ImageSet, open_feed
from workbench.errors import TrainingError
from workbench.models.networks import place, scaled_norms
from workbench.models.processor import Processor
from workbench.training.checkpoints import Epoch, Progress
from workbench.training.distillation import Guide
from workbench.training.loop import make_optimizer
from workbench.training.orthogonality import penalised_layers, penalty
from workbench.training.plans import Plan, batch_sizes, derive_seed, learning_rate

#: Largest number of images of a small set, whose training is limited by kernel launches.
SMALL_SET = 10_000
#: Exactly these types, because derived types may do more.
_Dropout = (nn.Dropout, nn.Dropout2d)


def pays(images: int, seeds: int, processor: Processor) -> bool:
    """Whether training the seeds together is faster."""
    return processor.device.startswith("cuda") and seeds > 1 and images <= SMALL_SET


@dataclass(frozen=True)
class Learner:
    """One of the networks that are trained together.

    Attributes:
        network: trained in place.
        seed: determines its order, views and dropout masks.
    """

    network: nn.Module
    seed: int


class _Given(nn.Module):
    """Dropout with a given mask."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask


class _Mean(nn.Module):
    """Average pooling to one pixel; ``vmap`` runs torch's own layer network by network."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((-2, -1), keepdim=True)


def fit_together(
    learners: Sequence[Learner],
    images: ImageSet,
    source: Source,
    plan: Plan,
    *,
    processor: Processor,
    teacher: Guide | None = None,
    on_epoch: Callable[[Sequence[Epoch]], None] = lambda epochs: None,
) -> list[Progress]:
    """Train networks of one shape in place, each as ``training.fit`` would.

    Args:
        learners: networks with the same layers; they are moved to the processor's device.
        images, source, plan, processor, teacher: as for ``fit``, the same for all.
        on_epoch: called after each epoch with the epochs of all learners.

    Returns:
        The epochs of every learner, and an equal share of the seconds.

    Raises:
        TrainingError: when a loss is no longer a finite number.
        RuntimeError: when the network cannot be stacked, memory does not suffice, or the plan has
            an option that is made for single networks.
    """
    if plan.alone:
        raise RuntimeError(f"{plan.alone} works on one network")
    device = processor.torch_device
    if teacher and teacher.one_by_one:
        raise RuntimeError(teacher.one_by_one)
    stack = _Stack([place(learner.network, device).train() for learner in learners])
    if teacher:
        teacher.prepare(device)
    feed = open_feed(images, source, device, reflect=plan.reflect)
    optimizer = make_optimizer(stack.leaves, plan)
    sizes = batch_sizes(len(images), plan.batch_size)
    progress = [Progress() for _ in learners]
    for number in range(1, plan.epochs + 1):
        start = time.perf_counter()
        total, rate = _train_epoch(
            stack, optimizer, feed, sizes, learners, source, plan, number, processor, teacher
        )
        seconds = (time.perf_counter() - start) / len(learners)
        epochs = [Epoch(number, loss / len(images), rate) for loss in total.tolist()]
        _check(epochs, learners, plan)
        progress = [
            Progress((*before.epochs, epoch), before.seconds + seconds)
            for before, epoch in zip(progress, epochs, strict=True)
        ]
        on_epoch(epochs)
    stack.hand_back()
    return progress


def _train_epoch(
    stack: _Stack,
    optimizer: torch.optim.SGD,
    feed: Feed,
    sizes: Sequence[int],
    learners: Sequence[Learner],
    source: Source,
    plan: Plan,
    number: int,
    processor: Processor,
    teacher: Guide | None,
) -> tuple[Tensor, float]:
    """Train for one epoch; return the summed loss of each learner, shape (s,), and the last rate.

    The losses are still on the device.
    """
    device = processor.torch_device
    orders = [_generator("order", learner, number) for learner in learners]
    masks = [_generator("dropout", learner, number, device) for learner in learners]
    total = torch.zeros(len(learners), device=device)
    rate = 0.0
    feeds = [feed(sizes, plan.augment, order) for order in orders]
    for index, batches in enumerate(zip(*feeds, strict=True)):
        rate = learning_rate(plan, (number - 1) * len(sizes) + index, plan.epochs * len(sizes))
        optimizer.param_groups[0]["lr"] = rate
        inputs = torch.stack([normalise(seen, source) for seen, _ in batches])
        labels = torch.stack([wanted for _, wanted in batches])
        with torch.autocast(device.type, torch.bfloat16, processor.precision == "bf16"):
            logits = stack(inputs, masks)
            wanted = teacher.logits(inputs.flatten(0, 1)) if teacher else None
        losses = _losses(logits.float(), labels, plan, teacher, wanted)
        losses = losses + plan.sparsity * stack.scales() if plan.sparsity else losses
        if plan.orthogonality and stack.layers:
            losses = losses + plan.orthogonality * penalty(stack.layers, stacked=True)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(losses.sum())
        optimizer.step()
        total += losses.detach() * labels.shape[1]
    return total, rate


def _losses(
    logits: Tensor, labels: Tensor, plan: Plan, teacher: Guide | None, wanted: Tensor | None
) -> Tensor:
    """Mean loss of each learner, shape (s,), from logits (s, b, classes) and labels (s, b)."""
    on_labels = [
        partial(nn.functional.cross_entropy, target=own, label_smoothing=plan.label_smoothing)
        for own in labels
    ]
    if teacher and wanted is not None:
        soft = wanted.float().view_as(logits)
        losses = [teacher.mix(*each) for each in zip(on_labels, logits, soft, strict=True)]
    else:
        losses = [loss(own) for loss, own in zip(on_labels, logits, strict=True)]
    return torch.stack(losses)


def _check(epochs: Sequence[Epoch], learners: Sequence[Learner], plan: Plan) -> None:
    for epoch, learner in zip(epochs, learners, strict=True):
        if not math.isfinite(epoch.loss):
            raise TrainingError(
                f"the training loss of seed {learner.seed} is {epoch.loss} after epoch "
                f"{epoch.number}; {plan.remedy}"
            )


def _generator(
    purpose: str, learner: Learner, number: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    seed = derive_seed(learner.seed, purpose, number)
    return torch.Generator(device).manual_seed(seed)


class _Stack:
    """Networks of one shape as one function of stacked parameters.

    Attributes:
        leaves: the stacked parameters, shape (s, ...) each.
        layers: those of them with a penalty, and the groups of each.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self._networks = networks
        self._body = _stackable(networks[0])
        own = [dict(network.named_parameters()) for network in networks]
        self._parameters = {
            name: torch.stack([each[name].detach() for each in own]).requires_grad_()
            for name in own[0]
        }
        buffers = [dict(network.named_buffers()) for network in networks]
        # Counters and index lists are the same for all networks, so they are not stacked.
        self._buffers = {
            name: torch.stack([each[name] for each in buffers])
            for name, value in buffers[0].items()
            if value.is_floating_point()
        }
        self._shared = {k: v for k, v in buffers[0].items() if k not in self._buffers}
        self.leaves = list(self._parameters.values())
        self._scales = [self._parameters[f"{name}.weight"] for name in scaled_norms(networks[0])]
        self.layers = [
            (self._parameters[f"{name}.weight"], groups)
            for name, groups in penalised_layers(networks[0]).items()
        ]
        dropouts = {n: p for n, p in networks[0].named_modules() if type(p) in _Dropout}
        self._rates = {name: float(part.p) for name, part in dropouts.items()}
        self._forms: dict[torch.Size, dict[str, Tensor]] = {}

    def __call__(self, inputs: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Compute logits (s, b, classes) of images (s, b, c, h, w)."""
        masks = self._masks(inputs[0], generators)

        def one(own: dict[str, Tensor], seen: Tensor) -> Tensor:
            answer: Tensor = functional_call(self._body, {**own, **self._shared}, (seen,))
            return answer

        batched = {**self._parameters, **self._buffers, **masks}
        return torch.vmap(one)(batched, inputs)

    def scales(self) -> Tensor:
        """Sum of the absolute batch-norm scales of each network: shape (s,)."""
        return torch.stack([scale.abs().sum(dim=1) for scale in self._scales]).sum(dim=0)

    def hand_back(self) -> None:
        """Copy the trained values back into the networks."""
        with torch.no_grad():
            for place_, network in enumerate(self._networks):
                state = dict(network.named_parameters()) | dict(network.named_buffers())
                for name, stacked in (*self._parameters.items(), *self._buffers.items()):
                    state[name].copy_(stacked[place_])
                for name, value in self._shared.items():
                    state[name].copy_(value)

    def _masks(self, inputs: Tensor, generators: Sequence[torch.Generator]) -> dict[str, Tensor]:
        """Masks of every dropout, one per network, drawn in the order of a forward pass."""
        forms = self._forms.get(inputs.shape)
        if forms is None:
            forms = self._forms.setdefault(inputs.shape, self._dropout_inputs(inputs))
        masks: dict[str, list[Tensor]] = {name: [] for name in forms}
        for generator in generators:
            for name, form in forms.items():
                rate = self._rates[name]
                drawn = torch.empty_like(form).bernoulli_(1 - rate, generator=generator)
                masks[name].append(drawn.div_(1 - rate))
        return {f"{name}.mask": torch.stack(drawn) for name, drawn in masks.items()}

    def _dropout_inputs(self, inputs: Tensor) -> dict[str, Tensor]:
        """Empty tensors with the shape and layout of each dropout's input in one network."""
        found: dict[str, Tensor] = {}
        probe = copy.deepcopy(self._networks[0]).eval()

        def hook_of(name: str) -> Callable[..., None]:
            def note(_module: nn.Module, seen: tuple[Tensor, ...], _output: Tensor) -> None:
                if name in found:  # both calls would use the same mask
                    raise RuntimeError(f"dropout '{name}' is called more than once a pass")
                found[name] = torch.empty_like(seen[0])

            return note

        for name, part in probe.named_modules():
            if type(part) in _Dropout:
                part.register_forward_hook(hook_of(name))
        with torch.no_grad():
            probe(inputs)
        return found


def _stackable(network: nn.Module) -> nn.Module:
    """Copy a network with dropouts that use given masks, and pooling that ``vmap`` batches."""
    body = copy.deepcopy(network)
    for name, part in network.named_modules():
        owner, _, own = name.rpartition(".")
        if type(part) in _Dropout:
            setattr(body.get_submodule(owner), own, _Given())
        elif type(part) is nn.AdaptiveAvgPool2d and part.output_size in (1, (1, 1), [1, 1]):
            setattr(body.get_submodule(owner), own, _Mean())
    return body
