"""Networks with exits at several depths, and their files.

A ``.exits`` file is a safetensors file: the card, the state dict of the network, and the exits'
tensors, whose names start with "exits:". Loading it runs no code.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from workbench.compression.costs.costs import count_costs
from workbench.compression.narrow_networks import load_network
from workbench.deployment.exit_thresholds import ExitCosts
from workbench.errors import NetworkError, SettingsError, WeightsError, counted
from workbench.models.weight_files import Card, read_card, save_tensors

_PREFIX = "exits:"
_PLACES, _THRESHOLDS = "exits:places", "exits:thresholds"
MOST_EXITS = 16


class MultiExit(nn.Module):
    """A network that an image leaves at the first exit whose probability reaches its threshold.

    Args:
        segments: the network in parts, one more than exits.
        heads: linear layers on the mean of each channel.
        thresholds: smallest probability with which an image leaves each exit, shape (exits,);
            exits with an infinite one are not computed.
    """

    def __init__(
        self, segments: Sequence[nn.Module], heads: Sequence[nn.Linear], thresholds: Sequence[float]
    ) -> None:
        super().__init__()
        self.segments, self.heads = nn.ModuleList(segments), nn.ModuleList(heads)
        self.thresholds = tuple(thresholds)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the exit where each image leaves, shape (b, classes)."""
        return self.leave(images)[0]

    def leave(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, shape (b, classes), and the exit where each image leaves, from 0, int64.

        An image that has left is not computed further.
        """
        left = torch.arange(len(images), device=images.device)
        parts: list[tuple[Tensor, Tensor, int]] = []
        features = images
        for place, threshold in enumerate(self.thresholds):
            features = self.segments[place](features)
            if not np.isfinite(threshold):
                continue
            logits = self.heads[place](pooled(features))
            sure = logits.softmax(dim=1).amax(dim=1) >= threshold
            if not bool(sure.any()):
                continue
            parts.append((left[sure], logits[sure], place))
            features, left = features[~sure], left[~sure]
            if not len(left):
                break
        if len(left) or not parts:
            parts.append((left, self.segments[-1](features), len(self.thresholds)))
        if len(parts) == 1:
            (_, logits, place) = parts[0]
            return logits, torch.full_like(parts[0][0], place)
        order = torch.cat([images for images, _, _ in parts]).argsort()
        exits = torch.cat([torch.full_like(images, place) for images, _, place in parts])
        return torch.cat([logits for _, logits, _ in parts])[order], exits[order]

    def leave_at(self, images: Tensor, exit_place: int) -> Tensor:
        """Logits of one exit, at the cost of all images that leave there; for timings."""
        features, logits = images, images
        for place, threshold in enumerate(self.thresholds[: exit_place + 1]):
            features = self.segments[place](features)
            if np.isfinite(threshold):
                logits = self.heads[place](pooled(features))
                bool((logits.softmax(dim=1).amax(dim=1) >= threshold).any())
        last = exit_place == len(self.thresholds)
        found: Tensor = self.segments[-1](features) if last else logits
        return found


def pooled(features: Tensor) -> Tensor:
    """The mean of each channel, shape (b, c), of features (b, c, h, w)."""
    return features.mean((2, 3))


def chain_of(network: nn.Module, shape: tuple[int, int, int]) -> list[nn.Module]:
    """The modules that a network calls one after the other, in evaluation mode.

    Parts of sequences are listed by themselves; blocks with a path of their own are not divided.
    The modules are run on noise and must compute the network's own logits, bit for bit.

    Raises:
        NetworkError: when the network is not such a chain.
    """
    chain = [part for child in _inner(network) for part in _sequence(child)]
    device = next(network.parameters()).device
    noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        with torch.no_grad():
            features = noise
            for part in chain:
                features = part(features)
            same = torch.equal(features, network(noise))
    except Exception:  # noqa: BLE001 - whatever a module raises when it is called alone
        same = False
    if not same:
        raise NetworkError(
            f"multi-exit: the layers of this network ({type(network).__name__}) are not called one "
            "after the other, so exits cannot be put between them; vgg16, resnet56, resnet34, "
            "simplecnn and other plain chains have exits"
        )
    return chain


def _inner(network: nn.Module) -> list[nn.Module]:
    return [network] if _is_sequence(network) else list(network.children())


def _sequence(part: nn.Module) -> list[nn.Module]:
    if not _is_sequence(part):
        return [part]
    return [inner for child in part.children() for inner in _sequence(child)]


def _is_sequence(part: nn.Module) -> bool:
    return isinstance(part, nn.Sequential) and type(part).forward is nn.Sequential.forward


def exit_places(
    chain: Sequence[nn.Module], shape: tuple[int, int, int], exits: int
) -> tuple[list[int], list[float]]:
    """Where the exits are, near equal steps of the network's FLOPs.

    An exit is before a part with weights, after the norm, activation and pooling of the part before
    it. It needs features with height and width.

    Returns:
        The number of parts before each exit, ascending, and the share of the FLOPs of these parts.

    Raises:
        SettingsError: when there are fewer places than exits.
    """
    possible = _possible_places(chain, shape)
    if len(possible) < exits:
        raise SettingsError(
            f"--exits {exits}: this network has {counted(len(possible), 'place')} for exits; "
            "use fewer"
        )
    flops = [flops_of(chain[:at], shape) for at in (*possible, len(chain))]
    shares = [each / flops[-1] for each in flops[:-1]]
    chosen = spaced_places(shares, exits)
    return [possible[each] for each in chosen], [shares[each] for each in chosen]


def _possible_places(chain: Sequence[nn.Module], shape: tuple[int, int, int]) -> list[int]:
    device = next(nn.ModuleList(chain).parameters()).device
    features, found = torch.zeros(1, *shape, device=device), []
    with torch.no_grad():
        for number, part in enumerate(chain):
            if number and features.ndim == 4 and _has_layers(part):
                found.append(number)
            features = part(features)
    return found


def _has_layers(part: nn.Module) -> bool:
    return any(isinstance(each, nn.Conv2d | nn.Linear) for each in part.modules())


def spaced_places(shares: Sequence[float], exits: int) -> list[int]:
    """Positions of different shares near 1/(exits + 1), 2/(exits + 1), ..., ascending.

    Args:
        shares: ascending, at least as many as exits.
    """
    chosen: list[int] = []
    for number in range(1, exits + 1):
        first = chosen[-1] + 1 if chosen else 0
        free = range(first, len(shares) - (exits - number))
        chosen.append(min(free, key=lambda each: abs(shares[each] - number / (exits + 1))))
    return chosen


def segments_of(chain: Sequence[nn.Module], places: Sequence[int]) -> list[nn.Sequential]:
    """The chain in parts that end at these places, and the rest."""
    ends = [0, *places, len(chain)]
    return [nn.Sequential(*chain[a:b]).eval() for a, b in pairwise(ends)]


def flops_of(parts: Sequence[nn.Module], shape: tuple[int, int, int]) -> int:
    """FLOPs of the first parts of a network, which are in evaluation mode."""
    # A new sequence is in training mode, and counting would put its parts into it, too.
    return count_costs(nn.Sequential(*parts).eval(), shape).flops


def costs_of(
    channels: Sequence[int], shares: Sequence[float], classes: int, flops: int
) -> ExitCosts:
    """The costs of exits after features of so many channels.

    Args:
        shares: as ``exit_places`` returns them.
        flops: of the network without exits.
    """
    heads = np.array([2 * each * classes / flops for each in channels])
    return ExitCosts(np.array([*shares, 1.0]), heads)


def write_exits(
    path: Path, card: Card, network: nn.Module, places: Sequence[int], exits: MultiExit
) -> None:
    """Write a network with its exits.

    Args:
        network: the network without exits.
        places: as ``exit_places`` returns them.

    Raises:
        OSError: when the file cannot be written.
    """
    tensors = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
    for number, head in enumerate(exits.heads):
        for name, value in head.state_dict().items():
            tensors[f"{_PREFIX}{number}.{name}"] = value.detach().cpu().clone()
    tensors[_PLACES] = torch.tensor(places)
    tensors[_THRESHOLDS] = torch.tensor(exits.thresholds, dtype=torch.float32)
    save_tensors(tensors, path, card.metadata())


def load_exits(path: Path, model_name: str | None = None) -> tuple[MultiExit, nn.Module]:
    """Build the network of a ``.exits`` file, in evaluation mode.

    Args:
        model_name: name of the network, as for ``narrow_networks.load_network``.

    Returns:
        The network with exits, and the same network without; they share their layers.

    Raises:
        WeightsError: when the file is missing, damaged, or was not written by the workbench.
        NetworkError: when its network cannot be built.
    """
    card = read_card(path)
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: damaged or not a file with exits ({error})") from None
    own = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_PREFIX)}
    network = load_network(path, model_name, read=lambda _: tensors)
    try:
        return _with_exits(network, card, own).eval(), network
    except ValueError as error:
        raise WeightsError(f"{path}: its exits are damaged: {error}; make it again") from None


def _with_exits(network: nn.Module, card: Card, own: dict[str, Tensor]) -> MultiExit:
    chain = chain_of(network, card.shape)
    places = _checked(own, _PLACES, torch.int64, None).tolist()
    exits = len(places)
    if not 1 <= exits <= MOST_EXITS or sorted({*places}) != places:
        raise ValueError("their places are not ascending numbers")
    if places[0] < 1 or places[-1] >= len(chain):
        raise ValueError("a place is not inside the network")
    thresholds = _checked(own, _THRESHOLDS, torch.float32, (exits,))
    if bool(thresholds.isnan().any()) or bool((thresholds < 0).any()):
        raise ValueError("a threshold is not a number from 0")
    segments = segments_of(chain, places)
    heads, classes = [], len(card.classes)
    for number, channels in enumerate(channels_of(segments, card.shape)):
        head = empty_head(channels, classes)
        shapes = {"weight": (classes, channels), "bias": (classes,)}
        state = {
            name: _checked(own, f"{_PREFIX}{number}.{name}", torch.float32, shape)
            for name, shape in shapes.items()
        }
        if not all(bool(value.isfinite().all()) for value in state.values()):
            raise ValueError(f"exit {number + 1} holds NaN or infinity")
        head.load_state_dict(state)
        heads.append(head)
    return MultiExit(segments, heads, thresholds.tolist())


def empty_head(channels: int, classes: int, device: torch.device | None = None) -> nn.Linear:
    """A linear layer whose values are to be set; the random state of the caller is not used."""
    head: nn.Linear = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Linear, channels, classes, device=device or torch.device("cpu")
    )
    return head


def channels_of(segments: Sequence[nn.Module], shape: tuple[int, int, int]) -> list[int]:
    """Channels of the features at each exit but the last.

    Raises:
        ValueError: when features have no height and width.
    """
    device = next(nn.ModuleList(segments).parameters()).device
    features, found = torch.zeros(1, *shape, device=device), []
    with torch.no_grad():
        for segment in segments[:-1]:
            features = segment(features)
            if features.ndim != 4:
                raise ValueError("an exit is where features have no height and width")
            found.append(int(features.shape[1]))
    return found


def _checked(
    own: dict[str, Tensor], name: str, dtype: torch.dtype, shape: tuple[Any, ...] | None
) -> Tensor:
    tensor = own.get(name)
    if tensor is None:
        raise ValueError(f"'{name}' is missing")
    fits = tuple(tensor.shape) == shape if shape is not None else tensor.ndim == 1
    if tensor.dtype != dtype or not fits:
        raise ValueError(f"'{name}' has the wrong type or shape")
    return tensor
