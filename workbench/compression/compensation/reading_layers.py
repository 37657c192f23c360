"""The layers that read removed filters: their weights, and Gram matrices of their inputs.

A reader's weights and inputs are described by units. A unit is an input channel of a convolution
or an input of a linear layer. After a flatten, a unit is all height x width inputs of one filter,
so that one prediction serves all positions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench.compression.groups.rebuild import Convolution, computes_weights
from workbench.compression.groups.structure import FilterGroup, Structure
from workbench.data.augmentation import normalise
from workbench.data.catalog import Source
from workbench.data.image_batches import ImageSet, batches
from workbench.models.channel_scatter import Scatter
from workbench.models.networks import place
from workbench.models.processor import exact_fp32

Indices = NDArray[np.int64]
#: Most units of a reader; its Gram matrices then take 256 MB.
MOST_UNITS = 4096
_BATCH_SIZE = 256
_MOST_VALUES = 2**22  # float64 values that are held at once

SCATTERS = "a stream of full width reads its filters, and no layer there can take them over"
TOO_WIDE = f"it has more than {MOST_UNITS} inputs of maps of several sizes"
COMPUTES = "it computes its weights"


@dataclass(frozen=True, eq=False)
class Block:
    """Outputs of a reader that read the same units: all of them, or one group of a convolution.

    Attributes:
        rows: the outputs.
        kept, removed: the units that these outputs read.
    """

    rows: slice
    kept: Indices
    removed: Indices


@dataclass(frozen=True, eq=False)
class Reader:
    """A layer that reads removed filters.

    Attributes:
        layer: its name.
        units: shape (u, p): the inputs of each unit, one for each position after a flatten.
        blocks: disjoint parts of its outputs; one unless it is a grouped convolution.
    """

    layer: str
    units: Indices
    blocks: tuple[Block, ...]

    @property
    def removed(self) -> int:
        """Number of units that are removed."""
        return sum(len(block.removed) for block in self.blocks)


def find_readers(
    model: nn.Module,
    structure: Structure,
    kept: Mapping[str, Sequence[int]],
    excluded: Collection[str] = (),
) -> tuple[list[Reader], dict[str, str]]:
    """The readers of removed filters, and readers that cannot be corrected with the reason.

    Args:
        model: the full network.
        structure: its filter groups.
        kept: the kept filters by filter group.
        excluded: groups whose filters are neither predicted nor used for predictions.
    """
    gone: dict[str, list[Indices]] = {}
    banned: dict[str, list[Indices]] = {}
    for group in structure.groups:
        removed = np.setdiff1d(np.arange(group.filters), kept.get(group.name, range(group.filters)))
        for cut in group.cuts:
            if cut.side == "inputs" and len(removed):
                found = banned if group.name in excluded else gone
                which = np.arange(group.filters) if group.name in excluded else removed
                found.setdefault(cut.layer, []).append(cut.indices(which))
    readers, skipped = [], {}
    for name in (layer for layer in structure.layers if layer in gone):
        layer = model.get_submodule(name)
        units = _units(layer, name, structure.groups)
        if units is None:
            skipped[name] = COMPUTES if computes_weights(layer) else TOO_WIDE
            continue
        never = np.concatenate(banned[name]) if name in banned else np.array([], np.int64)
        readers.append(
            Reader(name, units, _blocks(layer, units, np.concatenate(gone[name]), never))
        )
    return readers, skipped


def uncorrectable_groups(model: nn.Module, structure: Structure) -> dict[str, str]:
    """Groups with a reader that cannot be corrected, and the reason."""
    found = {}
    for group in structure.groups:
        for layer in (cut.layer for cut in group.cuts if cut.side == "inputs"):
            part = model.get_submodule(layer)
            if isinstance(part, Scatter):
                found[group.name] = SCATTERS
            elif _units(part, layer, structure.groups) is None:
                found[group.name] = COMPUTES if computes_weights(part) else TOO_WIDE
    return found


def _units(layer: nn.Module, name: str, groups: Sequence[FilterGroup]) -> Indices | None:
    """The units of a reader, shape (u, p); None if it cannot be corrected."""
    if computes_weights(layer) or not isinstance(layer, (*Convolution, nn.Linear)):
        return None
    inputs = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    cuts = [c for group in groups for c in group.cuts if (c.layer, c.side) == (name, "inputs")]
    maps = [cut.pairs[cut.pairs[:, 0] == f, 1] for cut in cuts for f in np.unique(cut.pairs[:, 0])]
    sizes = {len(each) for each in maps}
    all_inputs = np.sort(np.concatenate(maps)) if maps else np.array([])
    regular = len(sizes) == 1 and np.array_equal(all_inputs, np.arange(inputs))
    if isinstance(layer, nn.Linear) and regular and sizes != {1}:
        units = np.stack([np.sort(each) for each in maps])
    else:
        units = np.arange(inputs)[:, None]
    return units if len(units) <= MOST_UNITS else None


def _blocks(layer: nn.Module, units: Indices, gone: Indices, never: Indices) -> tuple[Block, ...]:
    removed = np.flatnonzero(np.isin(units[:, 0], gone))
    kept = np.flatnonzero(~np.isin(units[:, 0], np.concatenate([gone, never])))
    if not isinstance(layer, Convolution) or layer.groups == 1:
        return (Block(slice(None), kept, removed),)
    wide, deep = layer.out_channels // layer.groups, layer.weight.shape[1]
    return tuple(
        Block(
            slice(group * wide, (group + 1) * wide),
            kept[kept // deep == group],
            removed[removed // deep == group],
        )
        for group in range(layer.groups)
    )


def weight_columns(layer: nn.Module, reader: Reader, units: Indices) -> Indices:
    """The columns of a layer's weight tensor for some units, shape (len(units), p)."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return reader.units[units] % weight.shape[1]  # a grouped convolution numbers them by group


def weight_rows(layer: nn.Module, reader: Reader, block: Block, units: Indices) -> Any:
    """A block's weights of some units as float64, shape (outputs x positions, len(units))."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    columns = weight_columns(layer, reader, units)
    part = weight.detach()[block.rows].cpu().double().numpy()[:, columns]
    return np.moveaxis(part, 1, -1).reshape(-1, len(units))


# --- inputs on images ----------------------------------------------------------------------


def measure_grams(
    model: nn.Module,
    readers: Sequence[Reader],
    images: ImageSet,
    source: Source,
    device: torch.device,
    on_batch: Callable[[int], None] = lambda seen: None,
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Measure Gram matrices of the readers' inputs in one pass over the images.

    All positions (or tokens) of an image count. The network runs in fp32 and in evaluation mode.

    Returns:
        By reader, sum z z^T over the units z, shape (u, u): of the images with even and with odd
        numbers. Readers that did not run are missing.
    """
    place(model, device).eval()
    sums: dict[str, Tensor] = {}

    def hook_of(reader: Reader) -> Callable[..., None]:
        units = torch.from_numpy(reader.units).to(device)

        def hook(layer: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            found = args[0] if args else kwargs["input"]
            channel = found.ndim - 1 if isinstance(layer, nn.Linear) else 1
            products = torch.stack(
                [_products(found[half::2].movedim(channel, -1), units) for half in (0, 1)]
            )
            sums[reader.layer] = sums[reader.layer] + products if reader.layer in sums else products

        return hook

    handles = [
        model.get_submodule(reader.layer).register_forward_pre_hook(
            hook_of(reader), with_kwargs=True
        )
        for reader in readers
    ]
    seen = 0
    try:
        for pixels, labels in batches(images, _BATCH_SIZE, device):
            with torch.inference_mode(), exact_fp32(device.type):
                model(normalise(pixels, source))
            seen += len(labels)
            on_batch(seen)
    finally:
        for handle in handles:
            handle.remove()
    return {name: (found[0].cpu().numpy(), found[1].cpu().numpy()) for name, found in sums.items()}


def _products(found: Tensor, units: Tensor) -> Tensor:
    """Gram matrix of a reader's inputs, shape (images, ..., inputs), in blocks of images."""
    total = torch.zeros(len(units), len(units), dtype=torch.float64, device=found.device)
    if not len(found):
        return total
    step = max(1, _MOST_VALUES // found[0].numel())
    for start in range(0, len(found), step):
        part = found[start : start + step].double()
        if units.shape[1] > 1:  # (..., units, positions) -> (..., positions, units)
            part = part[..., units].movedim(-1, -2)
        rows = part.reshape(-1, len(units))
        total += rows.T @ rows
    return total
