"""Packed weight files: smaller than float32 weights, and read back as float32 weights.

A ``.packed`` file is a safetensors file. Its metadata has the card of the network, a description of
the packed tensors and a hash of all that; its tensors are the arrays of each packed tensor,
named ``TENSOR:PART``, and all other tensors of the state dict as they are. Loading it runs no code.
Layers whose inputs are signs have thresholds among their arrays; ``load_packed`` applies them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from workbench.compression.narrow_networks import load_network
from workbench.data.checked_values import mapped, required, whole
from workbench.data.whole_files import parse_json
from workbench.deployment.quantisation.binary_inputs import binarise_inputs
from workbench.deployment.quantisation.binary_tensors import BinaryWeights
from workbench.deployment.quantisation.packed_tensors import PackedTensor, from_form, part_names
from workbench.errors import WeightsError
from workbench.models.weight_files import CARD, Card, save_tensors
from workbench.store.keys import weights_fingerprint

_PACKING = "packing"  # name of the description in the metadata
_VERSION = 1
_HASH = "packing_sha256"  # name of the hash in the metadata; files of workbench 0.1 have none
#: Types of the tensors that are not packed.
_PLAIN = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip
_MOST_TEXT = 1 << 22  # characters of the description; that of a ResNet-56 has 5,000


def coded_layers(network: nn.Module) -> dict[str, nn.Module]:
    """The convolutions and linear layers that have a weight of their own, by name.

    A weight that other parameters give (weight norm) is left out. A layer with two names has both.
    """
    return {
        name: part
        for name, part in network.named_modules(remove_duplicate=False)
        if isinstance(part, (nn.modules.conv._ConvNd, nn.Linear))
        and part._parameters.get("weight") is not None
    }


def layers_in_order(network: nn.Module, card: Card) -> list[str]:
    """Names of those of ``coded_layers`` that run, in the order in which they run first."""
    order: dict[int, str] = {}
    named = coded_layers(network)

    def note(layer: nn.Module, *_: Any) -> None:
        order.setdefault(id(layer), names[id(layer)])

    names = {id(layer): name for name, layer in named.items()}
    hooks = [layer.register_forward_hook(note) for layer in named.values()]
    with torch.no_grad():
        network.eval()(torch.zeros(1, *card.shape))
    for hook in hooks:
        hook.remove()
    return list(order.values())


def weight_array(layer: nn.Module) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The weight of one of ``coded_layers``, float32, row by row."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return np.ascontiguousarray(weight.detach().numpy())


def state_bytes(network: nn.Module) -> int:
    """Bytes of a state dict, the network's parameters and buffers."""
    return sum(value.numel() * value.element_size() for value in network.state_dict().values())


def write_packed(
    path: Path, card: Card, network: nn.Module, packed: Mapping[str, PackedTensor]
) -> None:
    """Write a network whose weights are packed.

    Args:
        path: the file; it takes its place when it is complete.
        network: all tensors that are not packed are those of its state dict.
        packed: the packed tensors, by their names in the state dict.

    Raises:
        OSError: when the file cannot be written.
        ValueError: when a packed tensor is not in the network, or has another shape.
    """
    tensors, metadata = _content(card, network, packed)
    save_tensors(tensors, path, metadata)


def packed_size(card: Card, network: nn.Module, packed: Mapping[str, PackedTensor]) -> int:
    """Bytes of the file that ``write_packed`` writes."""
    tensors, metadata = _content(card, network, packed)
    return len(save(tensors, metadata))


def _content(
    card: Card, network: nn.Module, packed: Mapping[str, PackedTensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file."""
    state = network.state_dict()
    for name, tensor in packed.items():
        if name not in state or tuple(state[name].shape) != tensor.shape:
            raise ValueError(f"'{name}' of shape {tensor.shape} is not in the network")
    # Copies: safetensors rejects tensors that share memory.
    tensors = {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in state.items()
        if name not in packed
    }
    # Copies here, too: a layer with two names has two packed tensors of the same arrays.
    for name, tensor in packed.items():
        for part, array in tensor.parts().items():
            if f"{name}:{part}" in state:
                raise ValueError(f"'{name}:{part}' is a tensor of the network")
            tensors[f"{name}:{part}"] = torch.from_numpy(np.array(array, order="C"))
    description = {
        "version": _VERSION,
        "hash": _HASH,  # a file whose hash has lost its name is noticed
        "tensors": {name: tensor.form() for name, tensor in packed.items()},
    }
    metadata = {**card.metadata(), _PACKING: json.dumps(description)}
    return tensors, {**metadata, _HASH: _hash(tensors, metadata)}


def _hash(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 over the tensors and what is needed to read them; others may add to the metadata."""
    texts = [metadata.get(name) for name in ("format", CARD, _PACKING)]
    return hashlib.sha256(f"{weights_fingerprint(tensors)}{texts}".encode()).hexdigest()


def read_packed(path: Path) -> dict[str, Tensor]:
    """Read a packed file as the state dict of its network; floating-point tensors are float32.

    Raises:
        WeightsError: when the file is missing or damaged, or is not a packed file.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The state dict, and the thresholds of layers whose inputs are signs, by layer."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path}: damaged or not a packed file ({error})") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from None
    if _PACKING not in metadata:
        raise WeightsError(
            f"{path}: is not a packed file: it does not describe packed weights; "
            "--stages clustered, mixed, sparse and others write one"
        )
    try:
        description = mapped("the description", parse_json(metadata[_PACKING], _MOST_TEXT))
        hashed = _HASH in metadata or "hash" in description
        if hashed and metadata.get(_HASH) != _hash(tensors, metadata):
            raise ValueError("it does not have its recorded hash")
        return _unpacked(tensors, description)
    except ValueError as error:
        raise WeightsError(f"{path}: is damaged: {error}; make it again") from None


def _unpacked(
    tensors: dict[str, Tensor], description: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The state dict, and thresholds by layer; takes what it reads out of ``tensors``."""
    whole("the version", required("the description", description, "version"), _VERSION, _VERSION)
    forms = mapped("the list of tensors", required("the description", description, "tensors"))
    state, thresholds = {}, {}
    for name, form in forms.items():
        try:
            parts = {part: _taken(tensors, f"{name}:{part}") for part in part_names(form)}
            packed = from_form(form, parts)
            state[name] = torch.from_numpy(packed.weights())
        except ValueError as error:
            raise ValueError(f"'{name}' cannot be decoded: {error}") from None
        if isinstance(packed, BinaryWeights) and len(packed.thresholds):
            thresholds[name.removesuffix(".weight")] = torch.from_numpy(packed.thresholds)
    for name, tensor in tensors.items():
        if name in state:
            raise ValueError(f"'{name}' is there twice")
        if tensor.dtype not in _PLAIN:
            raise ValueError(f"'{name}' holds {tensor.dtype}")
        state[name] = tensor.float() if tensor.is_floating_point() else tensor
        if not bool(torch.isfinite(state[name]).all()):
            raise ValueError(f"'{name}' holds NaN or infinity")
    return state, thresholds


def _taken(tensors: dict[str, Tensor], name: str) -> np.ndarray[Any, np.dtype[Any]]:
    if name not in tensors:
        raise ValueError(f"'{name}' is missing")
    tensor = tensors.pop(name)
    if tensor.dtype not in (torch.uint8, torch.uint16, torch.float32):
        raise ValueError(f"'{name}' holds {tensor.dtype}")
    array: np.ndarray[Any, np.dtype[Any]] = tensor.numpy()
    return array


def load_packed(path: Path | str, model_name: str | None = None) -> nn.Module:
    """Build the network of a packed file and load its weights, in evaluation mode.

    Args:
        path: a file that ``write_packed`` wrote.
        model_name: name of the network, as for ``narrow_networks.load_network``.

    Raises:
        WeightsError: when the file is missing, damaged, or was not written by the workbench.
        NetworkError: when its network cannot be built.
    """
    thresholds: dict[str, Tensor] = {}

    def read(file: Path) -> dict[str, Tensor]:
        state, found = _read(file)
        thresholds.update(found)
        return state

    network = load_network(path, model_name, read=read)
    layers = coded_layers(network)
    for name, values in thresholds.items():
        try:
            binarise_inputs(layers[name], values)
        except (KeyError, ValueError):
            raise WeightsError(
                f"{path}: is damaged: the thresholds of '{name}' do not fit the network; "
                "make it again"
            ) from None
    return network
