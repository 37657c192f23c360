"""Recipes: how many and which filters each layer keeps, with the evidence for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
        method: how many filters are kept, a name in ``methods.RECIPES``.
        images: how many images the responses were measured on.
        uncompressed: layers that keep all their filters, and why.
        threshold: that a budget came to: of PFA-En the energy, in (0, 1].
        selection: which filters are kept, a name in ``methods.SELECTIONS``.
    """

    method: str
    images: int
    layers: tuple[LayerRecipe, ...]
    uncompressed: Mapping[str, str] = field(default_factory=dict)
    threshold: float | None = None
    selection: str = "pfa"

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
        whole: dict[str, Any] = {"method": self.method}
        if self.selection != "pfa":
            whole["selection"] = self.selection
        whole |= {"images": self.images, "layers": self.rows()}
        if self.uncompressed:
            whole["uncompressed"] = dict(self.uncompressed)
        if self.threshold is not None:
            whole["threshold"] = self.threshold
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
            return cls(
                whole["method"],
                whole["images"],
                layers,
                whole.get("uncompressed", {}),
                whole.get("threshold"),
                whole.get("selection", "pfa"),
            )
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
