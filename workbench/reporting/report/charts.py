"""The charts of the reports as Vega-Lite specifications without their data.

Each function states the fields that the rows must have. Every row has ``words``, which a screen
reader reads for its mark. Colours are those of Okabe and Ito, which people with colour-vision
deficiencies can tell apart; they are variables of the page's style sheet, so that they follow dark
mode and print. What a colour shows, a shape or a position shows, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Spec = dict[str, Any]

_PALETTE = ("blue", "vermillion", "green", "purple", "orange", "sky", "black")
_OF_PROTOCOL = {
    "full-scratch": "sky",
    "full-fine": "blue",
    "pfa-scratch": "orange",
    "pfa-fine": "vermillion",
    "source": "black",
    "pfa-distill": "purple",
    "pfa-source": "green",
    "pfa-scratch-b": "yellow",
}
_SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down")
_PARTS = ("kept", "removed", "inactive")
_HEIGHT = 300
_WORDS = {"field": "words", "type": "nominal"}
_ACCURACY_AND_INTERVAL = (
    {"field": "accuracy", "title": "accuracy, %", "format": ".2f"},
    {"field": "low", "title": "interval from", "format": ".1f"},
    {"field": "high", "title": "to", "format": ".1f"},
)


def trade_off(series: Sequence[str], forms: Sequence[str], series_title: str) -> Spec:
    """Accuracy against cost, with intervals.

    Rows: ``series`` (colour), ``form`` (shape), ``cost`` above 0, ``accuracy``, ``low`` and
    ``high`` in percent, ``chosen`` (drawn with a ring), ``network`` and ``cost_text``.
    """
    y: Spec = {"field": "accuracy", "type": "quantitative", "title": "accuracy, %"}
    y |= {"scale": {"zero": False, "nice": True}}
    colour = _colour("series", series, series_title)
    ring = {
        "type": "point",
        "size": 380,
        "stroke": "var(--text)",
        "strokeWidth": 2,
        "filled": False,
    }
    return _chart(
        encoding={
            "x": {
                "field": "cost", "type": "quantitative", "title": "",
                "scale": {"type": "log", "nice": False, "padding": 28},
                "axis": {"format": "~s", "tickCount": 5, "labelOverlap": True},
            },
            "y": y,
        },
        layer=[
            {
                "mark": {"type": "rule", "strokeWidth": 1.5, "aria": False},
                "encoding": {
                    "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour,
                },
            },
            {
                "transform": [{"filter": "datum.chosen"}],
                "mark": {**ring, "aria": False},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
                "encoding": {
                    "color": colour,
                    "shape": _shape("form", forms),
                    "description": _WORDS,
                    "tooltip": [
                        {"field": "network", "title": "network"},
                        *_ACCURACY_AND_INTERVAL,
                        {"field": "cost_text", "title": "cost"},
                    ],
                },
            },
        ],
    )  # fmt: skip


def filters() -> Spec:
    """Filters of each layer: kept, removed and inactive.

    Rows, one for each layer and part: ``layer``, ``place``, ``part`` (a name in ``_PARTS``),
    ``order``, ``count``, ``filters``, ``kept``, ``inactive``, ``divergence`` in nats, ``energy`` in
    percent.
    """
    colours = {
        "domain": list(_PARTS),
        "range": ["var(--vermillion)", "var(--bar)", "var(--hollow)"],
    }
    return _chart(
        mark={"type": "bar", "stroke": "var(--edge)", "strokeWidth": 0.7},
        encoding={
            "x": {
                "field": "layer", "type": "ordinal", "sort": None, "title": "layer",
                "axis": {"labelAngle": -45, "labelLimit": 110, "labelOverlap": True},
            },
            "y": {"field": "count", "type": "quantitative", "title": "filters", "stack": "zero"},
            "order": {"field": "order", "type": "quantitative"},
            "color": {
                "field": "part", "type": "nominal", "scale": colours, "legend": {"title": None},
            },
            "description": _WORDS,
            "tooltip": [
                {"field": "layer", "title": "layer"},
                {"field": "filters", "title": "filters"},
                {"field": "kept", "title": "kept"},
                {"field": "inactive", "title": "inactive"},
                {"field": "divergence", "title": "divergence, nats", "format": ".3f"},
                {"field": "energy", "title": "energy kept, %", "format": ".2f"},
            ],
        },
    )  # fmt: skip


def kept_shares(series: Sequence[str]) -> Spec:
    """Share of the filters that several recipes keep in each layer.

    Rows: ``series``, ``place`` from 1, ``layer``, ``share`` in percent, ``kept``, ``filters``.
    """
    return _lines(
        {"field": "place", "type": "quantitative", "title": "layer (number)", "axis": _WHOLE},
        {"field": "share", "type": "quantitative", "title": "filters kept, %"},
        _colour("series", series, None),
        ["series", "layer", "kept", "filters"],
        shape=_shape("series", series),
    )


def spectra(series: Sequence[str]) -> Spec:
    """Eigenvalues of a layer before and after the selection, on a logarithmic axis.

    Rows: ``series``, ``rank`` from 1, ``share`` of the energy above 0.
    """
    return _lines(
        {"field": "rank", "type": "quantitative", "title": "eigenvalue (rank)", "axis": _WHOLE},
        {
            "field": "share", "type": "quantitative", "title": "share of the energy",
            "scale": {"type": "log"}, "axis": {"format": "~e", "values": _DECADES},
        },
        _colour("series", series, None),
        ["series", "rank", "share"],
        shape=_shape("series", series),
    )  # fmt: skip


def training_curves(protocols: Sequence[str]) -> Spec:
    """Values of a metric over the epochs, one line for each training.

    Rows: ``series`` (the protocol), ``seed``, ``epoch``, ``value``.
    """
    return _lines(
        {"field": "epoch", "type": "quantitative", "title": "epoch", "axis": _WHOLE},
        {"field": "value", "type": "quantitative", "title": "", "axis": {"format": "~g"}},
        _colour("series", protocols, None),
        ["series", "seed", "epoch", "value"],
        detail={"field": "seed", "type": "nominal"},
        shape=_shape("series", protocols),
    )


def reliability(series: Sequence[str]) -> Spec:
    """Accuracy against confidence, with the line of perfect calibration.

    Rows: ``series``, ``confidence`` and ``accuracy`` in percent, ``images``.
    """
    percent = {"scale": {"domain": [0, 100]}, "type": "quantitative", "axis": {"tickCount": 6}}
    x = {
        **percent,
        "field": "confidence",
        "title": "probability of the answer, % (mean of the bin)",
    }
    y = {**percent, "field": "accuracy", "title": "correct answers, %"}
    colour = _colour("series", series, None)
    return _chart(
        encoding={},
        layer=[
            {
                "data": {"values": [{"x": 0, "y": 0}, {"x": 100, "y": 100}]},
                "mark": {
                    "type": "line", "stroke": "var(--muted)", "strokeDash": [5, 4], "aria": False,
                },
                "encoding": {
                    "x": {**percent, "field": "x", "title": x["title"]},
                    "y": {**percent, "field": "y", "title": y["title"]},
                },
            },
            {
                "mark": {"type": "line", "aria": False},
                "encoding": {"x": x, "y": y, "color": colour},
            },
            {
                "mark": {"type": "point", "filled": True, "opacity": 1, "size": 90},
                "encoding": {
                    "x": x, "y": y, "color": colour, "shape": _shape("series", series),
                    "description": _WORDS,
                    "tooltip": [
                        {"field": "series", "title": "network"},
                        {"field": "confidence", "title": "probability, %", "format": ".1f"},
                        {"field": "accuracy", "title": "correct, %", "format": ".1f"},
                        {"field": "images", "title": "answers"},
                    ],
                },
            },
        ],
    )  # fmt: skip


def accuracy_by_group(series: Sequence[str], groups: int) -> Spec:
    """Accuracy with its interval by group and series.

    Rows: ``group``, ``series``, ``accuracy``, ``low`` and ``high`` in percent, ``seeds``.

    Args:
        groups: number of groups, for the height.
    """
    x: Spec = {"type": "quantitative", "scale": {"zero": False, "nice": True}}
    x |= {"title": "accuracy, % (95 % interval)", "axis": {"tickCount": 6, "labelOverlap": True}}
    colour = _colour("series", series, None)
    spec = _chart(
        encoding={
            "y": {
                "field": "group", "type": "nominal", "title": None, "axis": {"labelLimit": 110},
            },
            "yOffset": {"field": "series", "type": "nominal", "sort": list(series)},
            "color": colour,
        },
        layer=[
            {
                "mark": {"type": "rule", "strokeWidth": 2, "aria": False},
                "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "opacity": 1, "size": 80},
                "encoding": {
                    "x": {**x, "field": "accuracy"},
                    "shape": _shape("series", series),
                    "description": _WORDS,
                    "tooltip": [
                        {"field": "group", "title": "domain"},
                        {"field": "series", "title": "method"},
                        *_ACCURACY_AND_INTERVAL,
                        {"field": "seeds", "title": "seeds"},
                    ],
                },
            },
        ],
    )  # fmt: skip
    return spec | {"height": 60 + 16 * groups * len(series)}


_DECADES = [10.0**power for power in range(-9, 1)]
#: Whole numbers on an axis: ticks between them have no label.
_WHOLE = {
    "labelExpr": "datum.value % 1 === 0 ? format(datum.value, 'd') : ''",
    "tickCount": 10,
    "labelOverlap": True,
}


def _lines(
    x: Spec,
    y: Spec,
    colour: Spec,
    shown: Sequence[str],
    *,
    detail: Spec | None = None,
    shape: Spec | None = None,
) -> Spec:
    """Lines with a mark at each row, which has the tooltip."""
    split = {"detail": detail} if detail else {}
    return _chart(
        encoding={"x": x, "y": y, "color": colour, **split},
        layer=[
            {"mark": {"type": "line", "strokeWidth": 1.6, "aria": False}},
            {
                "mark": {"type": "point", "filled": True, "size": 36, "opacity": 1},
                "encoding": {
                    **({"shape": shape} if shape else {}),
                    "description": _WORDS,
                    "tooltip": [{"field": name, "title": name} for name in shown],
                },
            },
        ],
    )


def _colour(field: str, values: Sequence[str], title: str | None) -> Spec:
    scale = {"domain": list(values), "range": colours_of(values)}
    legend = {"title": title, "columns": 2 if len(values) > 1 else 1}
    return {"field": field, "type": "nominal", "scale": scale, "legend": legend}


def colours_of(values: Sequence[str]) -> list[str]:
    """A colour for each value: protocols have their own, others take them in order."""
    if all(value in _OF_PROTOCOL for value in values):
        return [f"var(--{_OF_PROTOCOL[value]})" for value in values]
    return [f"var(--{_PALETTE[place % len(_PALETTE)]})" for place in range(len(values))]


def _shape(field: str, values: Sequence[str]) -> Spec:
    shapes = [_SHAPES[place % len(_SHAPES)] for place in range(len(values))]
    scale = {"domain": list(values), "range": shapes}
    # Shapes that repeat the colours share their legend.
    legend: Mapping[str, Any] | None = {"title": None, "columns": 2}
    if field == "form" and len(values) < 2:
        legend = None
    elif field != "form":
        legend = {"title": None, "columns": 2 if len(values) > 1 else 1}
    return {"field": field, "type": "nominal", "scale": scale, "legend": legend}


def _chart(**parts: Any) -> Spec:
    return {
        "width": "container",
        "height": _HEIGHT,
        "autosize": {"type": "fit-x", "contains": "padding"},
        **parts,
    }
