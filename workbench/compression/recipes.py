"""Recipes: how many and which filters each layer keeps, with the evidence for it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench import pfa
from workbench.compression.methods import METHODS
from workbench.compression.structure import FilterGroup, Structure


@dataclass(frozen=True)
class LayerRecipe:
    """What becomes of one layer.

    Attributes:
        layer: the layer's name in the network.
        filters: how many it has in the full network.
        kept_indices: the filters that are *kept*, ascending.
        wanted: the method's keep count, before inactive filters were taken off.
        active: how many filters respond to the domain at all.
        divergence: KL(spectrum || uniform) in nats, in [0, ln filters].
        energy: share of the energy in the ``kept`` largest eigenvalues, in [0, 1].
        spectrum: the layer's spectrum, descending, one value a filter.
        shared_by: every layer whose filters these are, when there are several.
        measured_at: where the responses come from, when that is not the layer itself.
    """

    layer: str
    filters: int
    kept_indices: tuple[int, ...]
    wanted: int
    active: int
    divergence: float
    energy: float
    spectrum: tuple[float, ...]
    shared_by: tuple[str, ...] = ()
    measured_at: str = ""

    def __post_init__(self) -> None:
        inside = all(0 <= index < self.filters for index in self.kept_indices)
        ascending = list(self.kept_indices) == sorted(set(self.kept_indices))
        if not (self.kept_indices and inside and ascending):
            raise ValueError(
                f"{self.layer}: kept indices must be ascending, different, within "
                f"0..{self.filters - 1}, and at least one"
            )

    @property
    def kept(self) -> int:
        """Number of filters kept."""
        return len(self.kept_indices)


@dataclass(frozen=True)
class Recipe:
    """A recipe for a whole network: one ``LayerRecipe`` an analysed layer, in order.

    Attributes:
        method: the compression method that made it.
        images: how many images the responses were measured on.
        uncompressed: layers that keep all their filters, and why.
    """

    method: str
    images: int
    layers: tuple[LayerRecipe, ...]
    uncompressed: Mapping[str, str] = field(default_factory=dict)

    @property
    def widths(self) -> tuple[int, ...]:
        """Filters kept, layer by layer."""
        return tuple(layer.kept for layer in self.layers)

    @property
    def kept(self) -> dict[str, tuple[int, ...]]:
        """Indices of the filters kept, by layer."""
        return {layer.layer: layer.kept_indices for layer in self.layers}

    @property
    def dead_layers(self) -> tuple[str, ...]:
        """Layers in which no filter responds to the domain; each keeps one filter."""
        return tuple(layer.layer for layer in self.layers if not layer.active)

    def rows(self) -> list[dict[str, Any]]:
        """The layers as plain data for JSON, without their spectra."""
        return [_row(layer) for layer in self.layers]

    def to_json(self) -> str:
        """The recipe as JSON text, without its spectra."""
        whole = {"method": self.method, "images": self.images, "layers": self.rows()}
        if self.uncompressed:
            whole["uncompressed"] = dict(self.uncompressed)
        return json.dumps(whole, indent=1)

    def spectra_json(self) -> str:
        """The spectra as JSON text, by layer."""
        return json.dumps({layer.layer: layer.spectrum for layer in self.layers})

    @staticmethod
    def counts(text: str) -> tuple[tuple[int, int], ...]:
        """(filters, kept) of each layer in what ``to_json`` wrote."""
        return tuple((row["filters"], row["kept"]) for row in json.loads(text)["layers"])

    @classmethod
    def from_json(cls, text: str, spectra: str) -> Recipe:
        """Read what ``to_json`` and ``spectra_json`` wrote, exactly.

        Raises:
            ValueError: when the texts are not a recipe and its spectra.
        """
        try:
            whole, spectrum = json.loads(text), json.loads(spectra)
            layers = tuple(
                LayerRecipe(
                    layer=row["layer"],
                    filters=row["filters"],
                    kept_indices=tuple(row["kept_indices"]),
                    wanted=row["wanted"],
                    active=row["active"],
                    divergence=row["divergence"],
                    energy=row["energy"],
                    spectrum=tuple(spectrum[row["layer"]]),
                    shared_by=tuple(row.get("shared_by", ())),
                    measured_at=row.get("measured_at", ""),
                )
                for row in whole["layers"]
            )
            kept = whole.get("uncompressed", {})
            return cls(whole["method"], whole["images"], layers, kept)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a recipe: {error}") from None


def _row(layer: LayerRecipe) -> dict[str, Any]:
    row: dict[str, Any] = {
        "layer": layer.layer,
        "filters": layer.filters,
        "kept": layer.kept,
        "kept_indices": list(layer.kept_indices),
        "wanted": layer.wanted,
        "active": layer.active,
        "divergence": layer.divergence,
        "energy": layer.energy,
    }
    if layer.shared_by:
        row["shared_by"] = list(layer.shared_by)
    if layer.measured_at:
        row["measured_at"] = layer.measured_at
    return row


def make_recipe(
    responses: Mapping[str, pfa.StreamingCovariance],
    structure: Structure,
    method: str,
    energy: float | None = None,
    *,
    steps_left: int = 1,
) -> Recipe:
    """From the responses' covariances to a recipe.

    Inactive filters count in a layer's width and are removed first; none is kept while the
    method asks for more filters than are active. A layer without an active filter keeps one.
    Where a grouped convolution reads the filters, the same number is kept in each of its
    groups, so the count is rounded up to what can be built; ``wanted`` tells what was asked.

    Args:
        responses: by filter group.
        structure: the network's filter groups.
        method: a name in ``methods.METHODS``.
        energy: the threshold of PFA-En, in (0, 1]; unused by PFA-KL.
        steps_left: of iterative PFA: a group is narrowed by this root of the method's factor.
    """
    layers = []
    images = 0
    for group in structure.groups:
        moments = responses[group.name]
        covariance = moments.covariance
        images = moments.count
        spectrum = pfa.spectrum(covariance)
        active = int(np.count_nonzero(~pfa.inactive_filters(covariance)))
        wanted = METHODS[method](spectrum, energy)
        aim = _part_of_the_way(group.filters, wanted, steps_left)
        keep = group.buildable(min(aim, max(1, active)))
        kept = _select(pfa.correlation(covariance), keep, group)
        layers.append(
            LayerRecipe(
                layer=group.name,
                filters=moments.filters,
                kept_indices=tuple(int(index) for index in kept),
                wanted=wanted,
                active=active,
                divergence=pfa.divergence(spectrum),
                energy=pfa.kept_energy(spectrum, keep),
                spectrum=tuple(float(share) for share in spectrum),
                shared_by=group.layers if len(group.layers) > 1 else (),
                measured_at="" if group.response.layer == group.name else str(group.response),
            )
        )
    return Recipe(method, images, tuple(layers), structure.uncompressed)


def _part_of_the_way(filters: int, wanted: int, steps_left: int) -> int:
    """Filters after one of the equal factors that lead from ``filters`` to ``wanted``."""
    if steps_left == 1:
        return wanted
    factor: float = (wanted / filters) ** (1 / steps_left)
    return math.ceil(filters * factor * (1 - 1e-9))


def _select(correlation: NDArray, keep: int, group: FilterGroup) -> list[int]:
    """The filters kept, ascending: as many of each block, chosen within it."""
    blocks = group.block_indices()
    share = keep // len(blocks)
    return [
        int(block[index])
        for block in blocks
        for index in pfa.select_filters(correlation[np.ix_(block, block)], share)
    ]
