"""Recipes: how many and which filters each layer keeps, with diagnostics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.compression.method_names import FACTORISATIONS, method_label
from workbench.data.checked_values import LARGEST_NUMBER, listed, mapped, number, short_text, whole
from workbench.data.whole_files import parse_json
from workbench.models.factors import Factor, factors_from, plain_factors

#: Most filters of one layer; a larger number means a damaged file.
MOST_FILTERS = 100_000


@dataclass(frozen=True)
class LayerRecipe:
    """The recipe of one layer.

    Attributes:
        layer: the layer's name in the network.
        filters: number of filters in the full network.
        kept_indices: the filters that are *kept*, ascending.
        wanted: the method's keep count, before it is limited to active filters or rounded.
        active: number of filters that respond to the domain.
        divergence: KL(spectrum || uniform) in nats, in [0, ln filters].
        energy: share of the energy in the ``kept`` largest eigenvalues, in [0, 1].
        spectrum: the layer's spectrum, descending, one value per filter.
        shared_by: all layers of the filter group, if there are several; else empty.
        measured_at: where the responses are measured, if not at the layer itself; else empty.
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
                f"{self.layer}: kept indices must be distinct, ascending, within "
                f"0..{self.filters - 1}, and at least one"
            )

    @property
    def kept(self) -> int:
        """Number of filters kept."""
        return len(self.kept_indices)


@dataclass(frozen=True)
class Recipe:
    """A recipe for a whole network.

    Attributes:
        method: how many filters are kept, a name in ``methods.RECIPES``.
        images: number of images on which the responses were measured.
        layers: one ``LayerRecipe`` for each analysed layer, in the network's order.
        uncompressed: layers that keep all their filters, with the reason.
        threshold: the threshold found for a budget, for PFA-En an energy in (0, 1]; None without
            a budget.
        selection: which filters are kept, a name in ``methods.SELECTIONS``.
        factors: layers that are replaced by two thinner ones. Such a recipe keeps all filters, and
            ``layers`` has one entry for each layer that could be replaced.
    """

    method: str
    images: int
    layers: tuple[LayerRecipe, ...]
    uncompressed: Mapping[str, str] = field(default_factory=dict)
    threshold: float | None = None
    selection: str = "pfa"
    factors: tuple[Factor, ...] = ()

    @property
    def label(self) -> str:
        """Name for people: the method, or the recipe and the selection."""
        return method_label(self.method, self.selection)

    @property
    def factorises(self) -> bool:
        """Whether the method keeps all filters and replaces layers instead."""
        return self.method in FACTORISATIONS

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of filters kept in each layer; empty for all filters."""
        return () if self.factorises else tuple(layer.kept for layer in self.layers)

    @property
    def kept(self) -> dict[str, tuple[int, ...]]:
        """Indices of the filters kept, by layer; empty for all filters."""
        if self.factorises:
            return {}
        return {layer.layer: layer.kept_indices for layer in self.layers}

    @property
    def sizes(self) -> dict[str, int]:
        """Rank or group size of the replaced layers, by layer."""
        return {factor.layer: factor.size for factor in self.factors}

    @property
    def dead_layers(self) -> tuple[str, ...]:
        """Layers in which no filter responds to the domain; each keeps one filter."""
        if self.factorises:
            return ()
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
        if self.factors:
            whole["factors"] = plain_factors(self.factors)
        return json.dumps(whole, indent=1)

    def spectra_json(self) -> str:
        """The spectra as JSON text, by layer."""
        return json.dumps({layer.layer: layer.spectrum for layer in self.layers})

    @staticmethod
    def counts(content: object) -> tuple[tuple[int, int], ...]:
        """(filters, kept) of each layer in the plain data that ``to_json`` wrote.

        Raises:
            ValueError: when the data are not a recipe.
        """
        rows = listed("layers", mapped("it", content).get("layers"))
        return tuple(
            (filters, whole("kept", row.get("kept"), 1, filters))
            for row in (mapped("a layer", row) for row in rows)
            for filters in [whole("filters", row.get("filters"), 1, MOST_FILTERS)]
        )

    @classmethod
    def from_json(cls, text: str, spectra: str) -> Recipe:
        """Read the texts that ``to_json`` and ``spectra_json`` wrote; values are restored exactly.

        Raises:
            ValueError: when the texts are not a recipe and its spectra.
        """
        return cls.from_plain(parse_json(text), parse_json(spectra))

    @classmethod
    def from_plain(cls, content: object, spectra: object) -> Recipe:
        """Make a recipe from the parsed data of its two texts; all values are checked.

        Raises:
            ValueError: when they are not a recipe and its spectra.
        """
        try:
            saved, known = mapped("the recipe", content), mapped("the spectra", spectra)
            threshold = saved.get("threshold")
            reasons = mapped("uncompressed", saved.get("uncompressed", {}))
            return cls(
                short_text("method", saved.get("method")),
                whole("images", saved.get("images")),
                tuple(_layer(row, known) for row in listed("layers", saved.get("layers"))),
                {layer: short_text("a reason", why) for layer, why in reasons.items()},
                None if threshold is None else number("threshold", threshold, -LARGEST_NUMBER),
                short_text("selection", saved.get("selection", "pfa")),
                factors_from(saved.get("factors", [])),
            )
        except ValueError as error:
            raise ValueError(f"not a recipe: {error}") from None


def _layer(saved: object, spectra: Mapping[str, Any]) -> LayerRecipe:
    row = mapped("a layer", saved)
    layer = short_text("a layer's name", row.get("layer"))
    filters = whole(f"{layer}: filters", row.get("filters"), 1, MOST_FILTERS)
    kept = listed(f"{layer}: kept_indices", row.get("kept_indices"), 1, filters)
    spectrum = listed(f"{layer}: spectrum", spectra.get(layer), filters, filters)
    return LayerRecipe(
        layer=layer,
        filters=filters,
        kept_indices=tuple(whole(f"{layer}: a kept index", i, 0, filters - 1) for i in kept),
        wanted=whole(f"{layer}: wanted", row.get("wanted"), 0, filters),
        active=whole(f"{layer}: active", row.get("active"), 0, filters),
        divergence=number(f"{layer}: divergence", row.get("divergence"), -LARGEST_NUMBER),
        energy=number(f"{layer}: energy", row.get("energy"), -LARGEST_NUMBER),
        spectrum=tuple(
            number(f"{layer}: an eigenvalue", value, -LARGEST_NUMBER) for value in spectrum
        ),
        shared_by=tuple(
            short_text("shared_by", name) for name in listed("shared_by", row.get("shared_by", []))
        ),
        measured_at=short_text("measured_at", row.get("measured_at", "")),
    )


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
