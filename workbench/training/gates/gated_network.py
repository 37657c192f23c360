"""A network with one trainable gate per filter, and the way back to a plain network.

A gate multiplies the output of one filter directly after the batch norm that reads it, before the
activation, or after the layer itself if no batch norm reads it. If several layers have the filters
of a group (a residual stream), the same gate acts on each of them. A trained gate can therefore be
multiplied into the batch norm, or the layer, without any error (``GatedNetwork.fold``).

A closed gate (0) equals a removed filter only if 0 stays 0 until the next layer reads it: no later
batch norm of its own (as in DenseNets and networks that normalise before their convolutions), and
an activation that maps 0 to 0. ``check_gates`` compares the two and rejects other networks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from workbench.compression.groups.norms_behind import norms_behind
from workbench.compression.groups.rebuild import rebuild
from workbench.compression.groups.structure import FilterGroup, Structure
from workbench.errors import NetworkError
from workbench.models.networks import BatchNorm, has_scales

_TOLERANCE = 1e-3  # of the largest logit, in float32
Shape = tuple[int, int, int]


class Gate(nn.Module):
    """The gates of one filter group of n filters; each method has its own.

    Attributes:
        drawn: shape (b or 1, n), the factors of the pass that is running; None outside of one.
    """

    drawn: Tensor | None = None

    def sample(self, images: int) -> Tensor:
        """Factors in a training pass: shape (images, n), or (1, n) if all images share them."""
        raise NotImplementedError

    def factors(self) -> Tensor:
        """Shape (n,): the factors that ``GatedNetwork.fold`` multiplies into the network."""
        raise NotImplementedError

    def scores(self) -> Tensor:
        """Shape (n,): the larger, the more a filter is needed; above 0 for an open gate."""
        raise NotImplementedError

    def values(self) -> Tensor:
        """Shape (n,): the factors in evaluation, 0 for closed gates."""
        return torch.where(self.scores() > 0, self.factors(), torch.zeros_like(self.factors()))


@dataclass(frozen=True)
class Place:
    """A module whose output a gate multiplies.

    Attributes:
        module: its name in the network.
        filters: the filter of the group at each channel of its output.
    """

    module: str
    filters: tuple[int, ...]


@dataclass(frozen=True)
class GroupPlaces:
    """Where the gates of one filter group act.

    Attributes:
        positions: height x width of the layers' outputs, before pooling; 1 for neurons.
    """

    group: str
    filters: int
    places: tuple[Place, ...]
    positions: int


class GatedNetwork(nn.Module):
    """A network with gates; checkpoints of its training hold both.

    Args:
        network: the network, whose outputs the gates multiply from now on.
        places: where, by filter group.
        gates: one for each filter group.
        critic: a further network that the method trains; None without one.
    """

    def __init__(
        self,
        network: nn.Module,
        places: Sequence[GroupPlaces],
        gates: Sequence[Gate],
        critic: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.network, self.critic = network, critic
        self.places, self.gates = tuple(places), nn.ModuleList(gates)
        self._handles: list[RemovableHandle] = [
            network.get_submodule(place.module).register_forward_hook(_Multiply(gate, place))
            for group, gate in zip(self.places, gates, strict=True)
            for place in group.places
        ]

    @property
    def own(self) -> list[Gate]:
        """The gates, one for each filter group."""
        return [gate for gate in self.gates if isinstance(gate, Gate)]

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (b, classes)."""
        for gate in self.own:
            gate.drawn = gate.sample(len(x)) if self.training else gate.values()[None]
        try:
            logits: Tensor = self.network(x)
            return logits
        finally:
            for gate in self.own:
                gate.drawn = None

    def scores(self) -> dict[str, Tensor]:
        """Shape (n,), float32 on the CPU: the scores of each filter group."""
        return {
            group.group: gate.scores().detach().float().cpu()
            for group, gate in zip(self.places, self.own, strict=True)
        }

    def fold(self) -> nn.Module:
        """The plain network, with the gates multiplied into its weights; this one ends.

        In evaluation, the plain network with the filters of all open gates computes the same.
        """
        while self._handles:
            self._handles.pop().remove()
        for group, gate in zip(self.places, self.own, strict=True):
            factors = gate.factors().detach()
            for place in group.places:
                own = factors[torch.tensor(place.filters, device=factors.device)]
                _scale(self.network.get_submodule(place.module), own)
        return self.network


class _Multiply:
    """A forward hook that multiplies the output of a module by its gates."""

    def __init__(self, gate: Gate, place: Place) -> None:
        self.gate, self.filters = gate, torch.tensor(place.filters)

    def __call__(self, module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        drawn = self.gate.drawn
        assert drawn is not None  # the network runs inside of ``GatedNetwork.forward``
        self.filters = self.filters.to(drawn.device)
        factors = drawn[:, self.filters].to(output.dtype)
        between = [1] * (output.ndim - 2)
        last = isinstance(module, nn.Linear)  # whose filters are the last dimension
        shape = (len(drawn), *between, -1) if last else (len(drawn), -1, *between)
        return output * factors.view(shape)


def _scale(module: nn.Module, factors: Tensor) -> None:
    """Multiply the filters of a layer, or the channels of a batch norm."""
    with torch.no_grad():
        for value in (module.weight, module.bias):
            if isinstance(value, Tensor):
                value.mul_(factors.view(-1, *[1] * (value.ndim - 1)))


def find_places(network: nn.Module, structure: Structure, shape: Shape) -> list[GroupPlaces]:
    """Find the modules whose outputs the gates multiply, in one pass of a black image.

    Raises:
        NetworkError: when a batch norm without scales reads the filters.
    """
    outputs: dict[str, Tensor] = {}

    def keep(layer: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        outputs[layer] = output

    handles = [
        network.get_submodule(layer).register_forward_hook(partial(keep, layer))
        for group in structure.groups
        for layer in group.layers
    ]
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad(), norms_behind(network, outputs) as norms:
            network(torch.zeros(1, *shape, device=next(network.parameters()).device))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    for layer, norm in norms.items():
        if not has_scales(network.get_submodule(norm)):
            raise NetworkError(
                f"layer '{layer}': the batch norm '{norm}' behind it has no scales, so no gate can "
                "be multiplied into it; use another --method"
            )
    return [_places_of(group, norms, outputs) for group in structure.groups]


def _places_of(
    group: FilterGroup, norms: Mapping[str, str], outputs: Mapping[str, Tensor]
) -> GroupPlaces:
    places = []
    for layer in group.layers:
        name = norms.get(layer, layer)
        pairs = next(cut.pairs for cut in group.cuts if cut.layer == name and cut.side == "filters")
        filters = pairs[np.argsort(pairs[:, 1]), 0]
        places.append(Place(name, tuple(int(each) for each in filters)))
    positions = max(
        outputs[layer][0].numel() // len(place.filters)
        for layer, place in zip(group.layers, places, strict=True)
    )
    return GroupPlaces(group.name, group.filters, tuple(places), positions)


class _Given(Gate):
    """Gates with given factors, for ``check_gates``."""

    def __init__(self, factors: NDArray[np.floating]) -> None:
        super().__init__()
        self.register_buffer("given", torch.from_numpy(factors).float())

    def factors(self) -> Tensor:
        """The given factors."""
        return self.get_buffer("given")

    def scores(self) -> Tensor:
        """Their sizes: a factor of 0 is a closed gate."""
        return self.factors().abs()


def check_gates(network: nn.Module, structure: Structure, shape: Shape) -> None:
    """Check that closed gates equal removed filters, group by group, on a copy of the network.

    Raises:
        NetworkError: when they do not, with the first such layer.
    """
    random = np.random.default_rng(0)
    probe = copy.deepcopy(network).cpu().float().eval()
    with torch.no_grad():  # a new network has statistics and biases of 0, which hide differences
        for norm in (part for part in probe.modules() if isinstance(part, BatchNorm)):
            for value in (norm.running_mean, norm.bias):
                if value is not None:
                    value.copy_(torch.from_numpy(random.uniform(0.1, 0.5, len(value))))
    places = find_places(probe, structure, shape)
    images = torch.from_numpy(random.normal(size=(2, *shape))).float()
    every = {
        group.name: group.first(group.buildable(-(-group.filters // 2)))
        for group in structure.groups
    }
    if _differ(probe, structure, places, every, images, random):
        for name, kept in every.items():
            if _differ(probe, structure, places, {name: kept}, images, random):
                raise NetworkError(
                    f"layer '{name}': a filter whose gate is closed still has an effect, because a "
                    "batch norm or an activation behind it turns 0 into another value; use another "
                    "--method than vib and gal"
                )


def _differ(
    network: nn.Module,
    structure: Structure,
    places: Sequence[GroupPlaces],
    kept: Mapping[str, Sequence[int]],
    images: Tensor,
    random: np.random.Generator,
) -> bool:
    """Whether a network with closed gates differs from one without the filters behind them."""
    gates = []
    for group in places:
        factors = random.uniform(0.5, 1.5, group.filters)
        if group.group in kept:
            factors[np.setdiff1d(np.arange(group.filters), kept[group.group])] = 0.0
        gates.append(_Given(factors))
    gated = GatedNetwork(copy.deepcopy(network), places, gates).eval()
    with torch.no_grad():
        wanted = gated(images)
        found = rebuild(gated.fold(), kept, structure)(images)
    size = max(float(wanted.abs().max()), 1e-6)
    return not float((wanted - found).abs().max()) <= _TOLERANCE * size


def insert_gates(
    network: nn.Module,
    structure: Structure,
    shape: Shape,
    make_gate: Callable[[int], Gate],
    critic: nn.Module | None = None,
) -> GatedNetwork:
    """Put one gate per filter into a network.

    Args:
        network: a full network; it becomes a part of the result.
        structure: its filter groups.
        shape: channels, height, width of an image.
        make_gate: makes the gates of a group from its number of filters.
        critic: as for ``GatedNetwork``.

    Raises:
        NetworkError: when a gate cannot be multiplied into the network.
    """
    places = find_places(network, structure, shape)
    return GatedNetwork(network, places, [make_gate(each.filters) for each in places], critic)
