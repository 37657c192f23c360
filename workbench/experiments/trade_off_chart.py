"""Accuracy against footprint: the chart of a comparison of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.reporting.charts import new_figure, save_figure

#: If all footprints differ by less, the methods are drawn side by side at one footprint.
_SAME_FOOTPRINT = 0.02


@dataclass(frozen=True)
class Point:
    """One network in a chart of accuracy against footprint: shares in [0, 1]."""

    footprint: float
    accuracy: float
    low: float
    high: float


def trade_off_chart(
    panels: Mapping[str, Mapping[str, Sequence[Point]]],
    levels: Mapping[str, Mapping[str, float]],
    path: Path,
    *,
    share: str = "parameters",
) -> None:
    """Draw accuracy against size, with a panel for each domain and a line for each method.

    Args:
        panels: networks by domain and method.
        levels: accuracies to draw as dashed lines, by domain and label.
        path: PNG file to write.
        share: what the footprints are shares of.
    """
    figure, axes = new_figure(7.0, [3.6] * len(panels))
    for axis, (domain, methods) in zip(axes, panels.items(), strict=True):
        shares = [point.footprint for points in methods.values() for point in points]
        apart = max(shares) - min(shares) > _SAME_FOOTPRINT
        for place, (label, points) in enumerate(methods.items()):
            _draw_line(axis, place, label, points, apart)
        for style, (label, level) in zip(("--", ":"), levels.get(domain, {}).items(), strict=False):
            axis.axhline(100 * level, color="#4c6a92", linestyle=style, linewidth=1, label=label)
        title = domain
        if apart:
            axis.set_xlabel(f"% of the {share}")
        else:
            axis.set_xticks(
                range(len(methods)), list(methods), rotation=45, ha="right", rotation_mode="anchor"
            )
            title += f", {100 * sum(shares) / len(shares):.1f} % of the {share}"
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_ylabel("test accuracy, %")
        axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save_figure(figure, path)


def _draw_line(axis: Any, place: int, label: str, points: Sequence[Point], apart: bool) -> None:
    """Draw one method's networks with their intervals, side by side if all have the same size."""
    ordered = sorted(points, key=lambda point: point.footprint)
    means = [100 * point.accuracy for point in ordered]
    lows = [max(0.0, 100 * (point.accuracy - point.low)) for point in ordered]
    highs = [max(0.0, 100 * (point.high - point.accuracy)) for point in ordered]
    where = [100 * point.footprint if apart else place for point in ordered]
    axis.errorbar(
        where, means, [lows, highs], marker="o", markersize=5, linewidth=1.2 if apart else 0,
        capsize=2, elinewidth=0.8, label=label if apart else None,
    )  # fmt: skip
