"""The chart of a search: accuracy against cost, with the Pareto front in colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.reporting.charts import new_figure, save_figure

_FRONT, _OTHER, _CHOSEN, _LEVEL = "#d9772b", "#b5bcc4", "#8f3f0a", "#4c6a92"
#: Where a label may be, best first: the end of the text at its point, and the distance to the right
#: and upwards, in points.
_PLACES = [
    (side, right, sign * up)
    for up in (7, 18, 30, 42)
    for sign in (-1, 1)
    for side, right in (("left", 6), ("right", -6))
]


@dataclass(frozen=True)
class ChartPoint:
    """One network in the chart.

    Attributes:
        cost: in the unit of the axis, above 0.
        accuracy, low, high: mean and 95 % interval, in [0, 1].
        label: written beside the point; "" for none.
        front: whether no other network is cheaper and as accurate.
        chosen: whether it is the result of the search.
    """

    cost: float
    accuracy: float
    low: float
    high: float
    label: str = ""
    front: bool = False
    chosen: bool = False


def pareto_chart(
    points: Sequence[ChartPoint],
    path: Path,
    *,
    title: str,
    unit: str,
    accuracy: str,
    wanted: float | None = None,
) -> None:
    """Draw accuracy against cost on a logarithmic axis; dominated networks are grey.

    Args:
        points: at least one.
        path: PNG file to write.
        unit: label of the axis of the cost.
        accuracy: label of the axis of the accuracy.
        wanted: accuracy to draw as a dashed line, in [0, 1].
    """
    figure, (axes,) = new_figure(7.5, [4.4])
    for point in sorted(points, key=lambda each: (each.front, each.chosen)):
        _draw(axes, point)
    front = sorted((each for each in points if each.front), key=lambda each: each.cost)
    axes.plot(
        [each.cost for each in front], [100 * each.accuracy for each in front],
        color=_FRONT, linewidth=1.4, zorder=2,
    )  # fmt: skip
    if wanted is not None:
        axes.axhline(100 * wanted, color=_LEVEL, linestyle="--", linewidth=1)
        axes.annotate(
            f"needed: {100 * wanted:.1f} %", (0, 100 * wanted), (4, 4),
            xycoords=("axes fraction", "data"), textcoords="offset points",
            fontsize=8, color=_LEVEL,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel(unit)
    axes.set_ylabel(accuracy)
    axes.set_title(title, fontsize=10, loc="left")
    _place_labels(figure, axes, points)
    save_figure(figure, path)


def _draw(axes: Any, point: ChartPoint) -> None:
    colour = _CHOSEN if point.chosen else _FRONT if point.front else _OTHER
    mean = 100 * point.accuracy
    below, above = max(0.0, mean - 100 * point.low), max(0.0, 100 * point.high - mean)
    axes.errorbar(
        point.cost, mean, [[below], [above]], fmt="D" if point.chosen else "o",
        markersize=8 if point.chosen else 5, color=colour, elinewidth=0.8, capsize=2,
        zorder=4 if point.chosen else 3 if point.front else 1,
    )  # fmt: skip


def _place_labels(figure: Any, axes: Any, points: Sequence[ChartPoint]) -> None:
    """Write labels close to their points, off other labels, and on as few lines as possible.

    A text has a size only after everything else is drawn, so this comes last.
    """
    axes.margins(y=0.12)  # room above the best networks
    figure.canvas.draw()
    others = [text.get_window_extent() for text in axes.texts]
    lines = [line.get_path().transformed(line.get_transform()) for line in axes.lines]
    lines += [
        path.transformed(bars.get_transform())
        for bars in axes.collections
        for path in bars.get_paths()
    ]
    # The chosen network comes first, then labels from the right: the crowd is at high costs.
    for point in sorted(points, key=lambda each: (not each.chosen, -each.cost)):
        if not point.label:
            continue
        text = _label(axes, point)
        boxes = []
        for place in _PLACES:
            _move(text, place)
            boxes.append(text.get_window_extent())
        faults = [
            (
                sum(box.overlaps(other) for other in others) + _is_outside(box, figure, axes),
                sum(path.intersects_bbox(box, filled=False) for path in lines) + abs(up) / 12,
            )
            for box, (_, _, up) in zip(boxes, _PLACES, strict=True)
        ]
        best = faults.index(min(faults))
        _move(text, _PLACES[best])
        others.append(boxes[best])


def _label(axes: Any, point: ChartPoint) -> Any:
    from matplotlib.patheffects import withStroke

    colour = _CHOSEN if point.chosen else _FRONT
    place = (point.cost, 100 * point.accuracy)
    return axes.annotate(
        point.label, place, (0, 0), textcoords="offset points", fontsize=7.5, color=colour,
        va="center", path_effects=[withStroke(linewidth=2, foreground="white")],
    )  # fmt: skip


def _move(text: Any, place: tuple[str, float, float]) -> None:
    side, right, up = place
    text.set_horizontalalignment(side)
    text.set_position((right, up))


def _is_outside(box: Any, figure: Any, axes: Any) -> bool:
    """Whether a text leaves the figure at the sides, or the axes above or below."""
    across = box.x0 < figure.bbox.x0 or box.x1 > figure.bbox.x1
    return bool(across or box.y0 < axes.bbox.y0 or box.y1 > axes.bbox.y1)
