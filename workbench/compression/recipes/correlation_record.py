"""Correlations and spectra of the layers before and after the selection, small enough to keep.

A correlation matrix of n filters has n² numbers, but the report only shows a picture. The record
therefore has at most 64 filters, evenly spread over the layer, in 8 bits a value. The mean absolute
correlation is computed from all filters. A layer has at most 8.2 kB of pictures, and 4 bytes for
each kept filter's eigenvalue.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from workbench import pfa
from workbench.compression.evidence.evidence import Array, Evidence
from workbench.compression.recipes.recipes import Recipe
from workbench.data.checked_values import listed, mapped, number, short_text
from workbench.data.whole_files import parse_json
from workbench.models.weight_files import save_tensors

CORRELATIONS_FILE = "correlations.safetensors"
SHOWN = 64  # filters of a layer
_SCALE = 127.0
_LAYERS = "layers"  # name in the metadata
_MOST_TEXT = 1 << 20


@dataclass(frozen=True, eq=False)
class LayerCorrelation:
    """How a layer's filters are correlated, with all of them and with the kept ones.

    Attributes:
        layer: the layer's name in the network.
        before, after: shape (s, s) with s <= 64, int8: correlations of s filters, evenly spread,
            times 127. Inactive filters have 0 on the diagonal, too.
        mean_before, mean_after: mean absolute correlation of all pairs of active filters, in
            [0, 1]; 0 with fewer than two of them.
        spectrum_after: shape (kept,), descending: eigenvalues of the covariance of the kept
            filters as shares of their sum.
    """

    layer: str
    before: NDArray[np.int8]
    after: NDArray[np.int8]
    mean_before: float
    mean_after: float
    spectrum_after: NDArray[np.float32]


def correlations_of(evidence: Sequence[Evidence], recipe: Recipe) -> tuple[LayerCorrelation, ...]:
    """The correlations of every layer of a recipe, before and after its selection."""
    by_name = {found.group.name: found for found in evidence}
    return tuple(
        _of_layer(by_name[layer.layer], list(layer.kept_indices))
        for layer in recipe.layers
        if layer.layer in by_name
    )


def _of_layer(found: Evidence, kept: list[int]) -> LayerCorrelation:
    after = found.correlation[np.ix_(kept, kept)]
    deviation = np.sqrt(found.variance)[kept]
    return LayerCorrelation(
        found.group.name,
        _picture(found.correlation),
        _picture(after),
        _mean(found.correlation),
        _mean(after),
        pfa.spectrum(deviation[:, None] * after * deviation).astype(np.float32),
    )


def _picture(correlation: Array) -> NDArray[np.int8]:
    filters = len(correlation)
    shown = np.unique(np.linspace(0, filters - 1, min(filters, SHOWN)).round().astype(int))
    picture: NDArray[np.int8] = np.rint(correlation[np.ix_(shown, shown)] * _SCALE).astype(np.int8)
    return picture


def _mean(correlation: Array) -> float:
    active = np.flatnonzero(np.diagonal(correlation))
    pairs = len(active) * (len(active) - 1)
    if not pairs:
        return 0.0
    total = np.abs(correlation[np.ix_(active, active)]).sum() - len(active)
    return min(1.0, float(total / pairs))


def write_correlations(layers: Sequence[LayerCorrelation], path: Path) -> None:
    """Write a safetensors file.

    Raises:
        OSError: when it cannot be written.
    """
    tensors, rows = {}, []
    for place, each in enumerate(layers):
        rows.append([each.layer, each.mean_before, each.mean_after])
        for name in ("before", "after", "spectrum_after"):
            tensors[f"{place}.{name}"] = torch.from_numpy(getattr(each, name).copy())
    save_tensors(tensors, path, {_LAYERS: json.dumps(rows)})


def read_correlations(path: Path) -> tuple[LayerCorrelation, ...]:
    """Read a file that ``write_correlations`` wrote.

    Raises:
        ValueError: when it is something else.
    """
    try:
        with safe_open(path, framework="np") as file:
            saved: Mapping[str, str] = mapped("the metadata", file.metadata())
            rows = listed(_LAYERS, parse_json(saved.get(_LAYERS, ""), _MOST_TEXT))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, TypeError) as error:
        raise ValueError(f"not a file of correlations ({error})") from None
    return tuple(_layer(place, row, tensors) for place, row in enumerate(rows))


def _layer(place: int, row: object, tensors: Mapping[str, NDArray]) -> LayerCorrelation:
    name, before, after = listed("a layer", row, 3, 3)
    label = short_text("a layer's name", name)
    pictures = []
    for side in ("before", "after"):
        picture = tensors.get(f"{place}.{side}")
        square = picture is not None and picture.ndim == 2 and len(set(picture.shape)) == 1
        if picture is None or not square or picture.dtype != np.int8 or len(picture) > SHOWN:
            raise ValueError(f"{label}: no correlations {side} the selection")
        pictures.append(picture)
    spectrum = tensors.get(f"{place}.spectrum_after")
    if spectrum is None or spectrum.ndim != 1 or not np.isfinite(spectrum).all():
        raise ValueError(f"{label}: no spectrum after the selection")
    one, other = (number(label, value, 0.0, 1.0) for value in (before, after))
    rest = spectrum.astype(np.float32)
    return LayerCorrelation(label, pictures[0], pictures[1], one, other, rest)
