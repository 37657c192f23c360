"""Sections about the layers: filters kept, spectra and correlations."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.compression.recipes.correlation_record import SHOWN, LayerCorrelation
from workbench.compression.recipes.recipes import LayerRecipe, Recipe
from workbench.reporting.recipe_text import measured_on
from workbench.reporting.report.charts import filters, spectra
from workbench.reporting.report.page import Cell, Chart, Picture, Pictures, Section, Table, View
from workbench.reporting.tables import RECIPE_COLUMNS, recipe_columns, recipe_rows

BEFORE, AFTER = "all filters", "kept filters"
#: With more layers, the pictures and spectra are made smaller, so that the page stays small.
_MANY_LAYERS = 120
_MOST_POINTS, _FEW_POINTS = 96, 32
_SMALLEST_SHARE = 1e-9  # eigenvalues below are rounding errors, and have no place on a log axis
_PICTURE_WIDTH = 224
_AFTER = (
    " After the selection, the remaining eigenvalues should be more equal and the correlations "
    "weaker."
)
#: Ends of the colour scale for correlations: -1 is orange, 0 white, 1 blue.
_NEGATIVE, _POSITIVE = (230, 159, 0), (0, 90, 143)


def filters_section(recipe: Recipe) -> Section:
    """Bars of the filters kept in each layer, and the recipe as a table."""
    if recipe.factorises:
        return _factors_section(recipe)
    rows: list[dict[str, Any]] = []
    for place, layer in enumerate(recipe.layers):
        rows += _bars(place, layer)
    kept, full = sum(recipe.widths), sum(layer.filters for layer in recipe.layers)
    lines = [
        f"{recipe.label} keeps {kept:,} of {full:,} filters ({100 * kept / full:.0f} %), measured "
        f"on {recipe.images:,} training images. Inactive filters do not respond to them."
    ]
    lines += [f"{name} is not compressed: {why}." for name, why in recipe.uncompressed.items()]
    return Section(
        "filters",
        "Filters before and after",
        lines,
        [
            Chart("Filters kept, removed and inactive in each layer", filters(), [View("", rows)]),
            Table("The recipe as a table", RECIPE_COLUMNS, _recipe_cells(recipe), folded=True),
        ],
    )


def _factors_section(recipe: Recipe) -> Section:
    """The table of the layers that are replaced by two thinner ones."""
    lines = [
        f"{recipe.method} keeps all filters and replaces {len(recipe.factors)} layers by two "
        f"thinner ones, by {measured_on(recipe)}. 'Energy kept' is what the two layers keep of the "
        "outputs' variance, or of the weights' sum of squares."
    ]
    lines += [f"{name} is not replaced: {why}." for name, why in recipe.uncompressed.items()]
    table = Table("The recipe as a table", recipe_columns(recipe), _recipe_cells(recipe))
    return Section("filters", "Factorised layers", lines, [table])


def _recipe_cells(recipe: Recipe) -> list[list[Cell]]:
    return [
        [Cell(row[0]), *(Cell(text, _leading_number(text)) for text in row[1:])]
        for row in recipe_rows(recipe)
    ]


def _leading_number(text: str) -> float:
    return 0.0 if text == "-" else float(text.split()[0])


def _bars(place: int, layer: LayerRecipe) -> list[dict[str, Any]]:
    inactive = layer.filters - layer.active
    idle = min(inactive, layer.filters - layer.kept)
    counts = {"kept": layer.kept, "removed": layer.filters - layer.kept - idle, "inactive": idle}
    shared = {
        "layer": layer.layer,
        "place": place + 1,
        "filters": layer.filters,
        "kept": layer.kept,
        "inactive": inactive,
        "divergence": round(layer.divergence, 4),
        "energy": round(100 * layer.energy, 3),
    }
    words = (
        f"layer {layer.layer}: {layer.kept} of {layer.filters} filters kept, {inactive} inactive"
    )
    return [
        {**shared, "part": part, "order": order, "count": count, "words": f"{words} ({part})"}
        for order, (part, count) in enumerate(counts.items())
        if count
    ]


def spectra_section(recipe: Recipe, correlations: Sequence[LayerCorrelation]) -> Section:
    """Spectrum and correlations of each layer before and after the selection, with a chooser.

    Args:
        correlations: empty if they were not recorded; the spectra before the selection are shown
            then.
    """
    known = {each.layer: each for each in correlations}
    many = len(recipe.layers) > _MANY_LAYERS
    views = [
        View(layer.layer, _spectrum_rows(layer, known.get(layer.layer), many))
        for layer in recipe.layers
    ]
    series = [BEFORE, AFTER] if known else [BEFORE]
    after = " and of the kept filters" if known else ""
    of = "Eigenvalues of the covariance of the responses of all filters"
    if recipe.factorises:
        of = f"Energy of each direction, from {measured_on(recipe)}"
    chart = Chart(
        f"{of}{after}, as shares of their sum",
        spectra(series),
        views,
        chooser="Layer",
        group="layer",
    )
    lines = [
        "A layer whose eigenvalues fall quickly uses few directions and needs few filters."
        + ("" if recipe.factorises else _AFTER)
    ]
    if known:
        lines.append(
            f"The pictures show correlations in 8 bits, of at most {SHOWN} filters that are evenly "
            "spread over the layer; the mean is computed from all active filters."
        )
    side = 32 if many else SHOWN
    pictures = [_pictures(known[view.label], side) for view in views if view.label in known]
    return Section("layers", "Spectra and correlations", lines, [chart, *pictures])


def _spectrum_rows(
    layer: LayerRecipe, after: LayerCorrelation | None, many: bool
) -> list[dict[str, Any]]:
    rows = []
    found = {BEFORE: np.asarray(layer.spectrum)}
    if after is not None:
        found[AFTER] = after.spectrum_after.astype(np.float64)
    points = _FEW_POINTS if many else _MOST_POINTS
    for series, values in found.items():
        known = int(np.count_nonzero(values > _SMALLEST_SHARE))
        places = np.unique(np.linspace(0, known - 1, min(known, points)).round().astype(int))
        rows += [
            {
                "series": series,
                "rank": int(place) + 1,
                "share": float(f"{values[place]:.3g}"),
                "words": f"{series}: eigenvalue {place + 1} has {100 * values[place]:.2g} %",
            }
            for place in (places if known else ())
        ]
    return rows


def _pictures(each: LayerCorrelation, side: int) -> Pictures:
    sides = (
        ("before the selection", each.before, each.mean_before),
        ("after the selection", each.after, each.mean_after),
    )
    return Pictures(
        f"Correlations of {each.layer}: -1 orange, 0 white, 1 blue",
        [
            Picture(
                _heat_map(values, side),
                f"Heat map of the correlations of {each.layer} {when}; mean absolute correlation "
                f"{mean:.2f}",
                [when, f"mean |correlation| {mean:.3f}"],
                _PICTURE_WIDTH,
            )
            for when, values, mean in sides
        ],
        group="layer",
        choice=each.layer,
    )


def _heat_map(values: NDArray[np.int8], side: int) -> bytes:
    """A PNG with one pixel for each pair of filters, from a palette of 255 colours."""
    from PIL import Image

    shown = np.unique(np.linspace(0, len(values) - 1, min(len(values), side)).round().astype(int))
    part = values[np.ix_(shown, shown)].astype(np.int16) + 127
    image = Image.fromarray(part.clip(0, 254).astype(np.uint8))
    palette: list[int] = []
    for place in range(255):
        share = (place - 127) / 127
        end = _POSITIVE if share > 0 else _NEGATIVE
        palette += [round(255 + abs(share) * (channel - 255)) for channel in end]
    image.putpalette(palette)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
