"""Find a network's filter groups once, and build compressed networks from their widths."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from torch import Tensor, nn

from workbench.compression.factorisation.layers import factorise
from workbench.compression.groups.rebuild import rebuild
from workbench.compression.groups.structure import Structure
from workbench.compression.groups.tracing import find_structure
from workbench.errors import NetworkError, WeightsError
from workbench.models.external_networks import is_users_own
from workbench.models.factors import Factor
from workbench.models.networks import NETWORKS, build_network, initialise
from workbench.models.weight_files import put_weights, read_card, read_weights

_REMEDY = "let its function take num_classes, and return a network of that many outputs"


@lru_cache(maxsize=32)
def structure_of(name: str, shape: tuple[int, int, int], classes: int) -> Structure:
    """Find the filter groups of a network by its name.

    Args:
        name: name of the network, as for ``models.networks.find_network``.
        shape: channels, height, width of an image.
        classes: number of outputs.

    Raises:
        NetworkError: when the network cannot be built or compressed.
    """
    model = build_network(name, shape, classes)
    structure = find_structure(model, shape)
    outputs = structure.classifier.filters
    if outputs != classes:
        raise NetworkError(
            f"--model {name}: has {outputs} outputs, the source has {classes} classes; {_REMEDY}"
        )
    if is_users_own(name) and _ignores_classes(name, shape, classes, model):
        raise NetworkError(
            f"--model {name}: has {outputs} outputs for any number of classes; {_REMEDY}"
        )
    return structure


def _ignores_classes(
    name: str, shape: tuple[int, int, int], classes: int, model: nn.Module
) -> bool:
    """Whether the network for another number of classes has the same tensors.

    A network of 10 outputs fits a source of 10 classes by chance, and no target of fewer classes.
    """
    try:
        other = build_network(name, shape, classes + 1)
    except NetworkError:  # its function knows some numbers only
        return False
    return _shapes(other) == _shapes(model)


def _shapes(model: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(key, tuple(value.shape)) for key, value in model.state_dict().items()]


@lru_cache(maxsize=32)
def definition_of(name: str, shape: tuple[int, int, int], classes: int) -> str | None:
    """Hash of the definition of a library's or user's network; None for the workbench's own.

    The code behind such a name may change. The layers, their settings and the shapes of their
    weights identify the network.

    Args:
        name, shape, classes: as for ``structure_of``.
    """
    if name in NETWORKS:
        return None
    model = build_network(name, shape, classes)
    return hashlib.sha256(f"{model}{_shapes(model)}".encode()).hexdigest()


def build_narrow(
    name: str,
    shape: tuple[int, int, int],
    classes: int,
    widths: Sequence[int],
    *,
    factors: Sequence[Factor] = (),
    seed: int = 0,
) -> nn.Module:
    """Build a compressed network with newly initialised weights.

    Args:
        name, shape, classes: as for ``structure_of``.
        widths: filters of every group, as in a recipe; the full widths when empty.
        factors: layers that are replaced by two thinner ones.
        seed: seed of the weights.

    Raises:
        NetworkError: when the network cannot have these widths or factors.
    """
    full = build_network(name, shape, classes, seed=seed)
    if factors:
        if widths:
            raise NetworkError("a network has either fewer filters or factors, not both")
        return initialise(factorise(full, factors), name, seed)
    if not widths:
        return full
    structure = structure_of(name, shape, classes)
    if tuple(widths) == structure.widths:
        return full
    return initialise(rebuild(full, structure.first(widths), structure), name, seed)


def load_network(
    path: Path | str,
    model_name: str | None = None,
    *,
    read: Callable[[Path], Mapping[str, Tensor]] = read_weights,
) -> nn.Module:
    """Build the network of a weight file and load its weights, in evaluation mode.

    Args:
        path: a safetensors file that the workbench wrote.
        model_name: name of the network. It is required, as it was when the file was made, if the
            user's own code defines the network: a file alone cannot cause an import.
        read: reads the state dict from the file.

    Raises:
        WeightsError: when the file is missing, damaged, or was not written by the workbench.
        NetworkError: when its network cannot be built.
    """
    path = Path(path)
    card = read_card(path)
    if model_name not in (None, card.model):
        raise WeightsError(f"{path}: holds a {card.model}, not a {model_name}")
    if is_users_own(card.model) and model_name is None:
        raise WeightsError(
            f"{path}: its network is your own code ({card.model}), which is not imported because "
            "a file names it; name it: --model, or load_network(path, model_name)"
        )
    state = read(path)  # before the network is built: a damaged file costs little
    try:
        model = build_narrow(
            card.model, card.shape, len(card.classes), card.widths, factors=card.factors
        )
    except NetworkError as error:
        raise NetworkError(*(f"{path}: {problem}" for problem in error.problems)) from None
    put_weights(model, state, str(path))
    return model.eval()
