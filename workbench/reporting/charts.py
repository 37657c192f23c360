"""The two charts of an adaptation, after figures 4a and 4b of the source paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.reporting.results import ProtocolResult
from workbench.training.protocols import PROTOCOLS

#: Results by the label of their group; (full, kept) filters of each layer by the recipe's label.
Accuracies = Mapping[str, Sequence[ProtocolResult]]
Filters = Mapping[str, Sequence[tuple[int, int]]]

_COLOURS = {
    "full-scratch": "#b9c4d0",
    "full-fine": "#4c6a92",
    "pfa-scratch": "#f2c28b",
    "pfa-fine": "#d9772b",
    "pfa-scratch-b": "#f7dfc4",
    "pfa-distill": "#8f3f0a",
    "source": "#dfe5ec",
    "pfa-source": "#efe3d6",
}
#: Protocols whose bars are too dark for dark text.
_DARK = frozenset({"pfa-distill"})


@dataclass(frozen=True)
class Published:
    """Published numbers, drawn in black beside ours.

    Attributes:
        accuracies: percent, by the group's label and the protocol.
        kept: filters kept in each layer, by the recipe's label.
    """

    accuracies: Mapping[str, Mapping[str, float]]
    kept: Mapping[str, Sequence[int]]


_NOTHING = Published({}, {})


def accuracy_chart(groups: Accuracies, path: Path) -> None:
    """Draw the accuracy of each protocol with its 95 % interval and the footprints, by group.

    Args:
        groups: results by the group's label.
        path: PNG file to write.
    """
    figure, axes = new_figure(_accuracy_width(groups), [4.2])
    _draw_accuracies(axes[0], groups, _NOTHING)
    save_figure(figure, path)


def filters_chart(recipes: Filters, path: Path) -> None:
    """Draw the filters kept in each layer, beside those of the full network.

    Args:
        recipes: (full, kept) of each layer, by the recipe's label.
        path: PNG file to write.
    """
    figure, axes = new_figure(_filters_width(recipes), [3.8])
    _draw_filters(axes[0], recipes, _NOTHING)
    save_figure(figure, path)


def comparison_chart(
    groups: Accuracies, recipes: Filters, path: Path, published: Published = _NOTHING
) -> None:
    """Draw both charts, one above the other; the second only if there are recipes."""
    width = max(_accuracy_width(groups), _filters_width(recipes))
    figure, axes = new_figure(width, [4.2, 3.8] if recipes else [4.2])
    _draw_accuracies(axes[0], groups, published)
    if recipes:
        _draw_filters(axes[1], recipes, published)
    save_figure(figure, path)


def _draw_accuracies(axes: Any, groups: Accuracies, published: Published) -> None:
    protocols = list(dict.fromkeys(r.protocol for group in groups.values() for r in group))
    labels = _labels(groups)
    most = max(len(group) for group in groups.values())
    width = 0.84 / most
    lowest = 100.0
    for index, (label, group) in enumerate(groups.items()):
        for place, result in enumerate(group):
            mean = 100 * result.accuracy_mean
            low, high = (100 * bound for bound in result.accuracy_interval)
            lowest = min(lowest, low)
            x = index + (place - (len(group) - 1) / 2) * width
            axes.bar(x, mean, width * 0.92, color=_colour(result.protocol))
            axes.errorbar(
                x, mean, [[max(mean - low, 0)], [max(high - mean, 0)]], fmt="none",
                ecolor="#333333", capsize=3, linewidth=1,
            )  # fmt: skip
            theirs = published.accuracies.get(label, {}).get(result.protocol)
            if theirs is not None:
                lowest = min(lowest, theirs)
                half = 0.46 * width
                axes.plot([x - half, x + half], [theirs] * 2, color="black", linewidth=2)
            if result.compressed:
                axes.annotate(
                    f"{100 * result.footprint:.0f} %", (x, 0), (0, 4),
                    xycoords=("data", "axes fraction"), textcoords="offset points",
                    ha="center", fontsize=8, color=_text_on(result.protocol),
                )  # fmt: skip
    floor = min(90.0, max(0.0, 5 * (lowest // 5) - 5))
    axes.set_ylim(floor, 101)
    axes.set_xticks(range(len(groups)), labels)
    axes.set_ylabel(f"test accuracy, % (axis from {floor:.0f})" if floor else "test accuracy, %")
    axes.set_title("Test accuracy, 95 % interval; in the bars: footprint", fontsize=10, loc="left")
    handles = [_patch(_colour(protocol), protocol) for protocol in protocols]
    if published.accuracies:
        handles.append(_patch("black", "the paper's"))
    axes.legend(
        handles=handles, ncols=min(6, len(handles)), loc="upper left",
        bbox_to_anchor=(0, -0.1 - 0.05 * max(label.count("\n") for label in labels)),
        frameon=False, fontsize=9, columnspacing=1.2, handlelength=1.2,
    )  # fmt: skip


def _labels(groups: Accuracies) -> list[str]:
    """The groups' labels, with the number of seeds if it differs between trained networks."""
    seeds = {
        label: sorted({len(r.hits) for r in group if PROTOCOLS[r.protocol].trained} or {1})
        for label, group in groups.items()
    }
    if len({number for own in seeds.values() for number in own}) == 1:
        return list(groups)
    return [f"{label}\nn = {' or '.join(map(str, own))}" for label, own in seeds.items()]


def _draw_filters(axes: Any, recipes: Filters, published: Published) -> None:
    longest = max(recipes.values(), key=len)
    axes.bar(
        range(len(longest)), [full for full, _ in longest], 0.86, color="#e4e8ec",
        label="full network",
    )  # fmt: skip
    for label, layers in recipes.items():
        ours = [count for _, count in layers]
        if len(recipes) == 1:
            bars = axes.bar(range(len(ours)), ours, 0.86, color=_colour("pfa-fine"), label=label)
            axes.bar_label(bars, fontsize=7, padding=1, color="#222222")
        else:
            axes.plot(range(len(ours)), ours, marker="o", markersize=3, linewidth=1.4, label=label)
    for label, kept in published.kept.items():
        axes.plot(
            range(len(kept)), kept, color="black", linestyle="--", linewidth=1.4,
            label=f"{label}, the paper's",
        )  # fmt: skip
    axes.set_xticks(range(len(longest)), [str(place + 1) for place in range(len(longest))])
    axes.set_xlabel("analysed layer")
    axes.set_ylabel("filters")
    axes.set_title("Filters kept in each layer", fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def _accuracy_width(groups: Accuracies) -> float:
    return max(5.5, 1.2 + 0.5 * sum(len(group) for group in groups.values()))


def _filters_width(recipes: Filters) -> float:
    return max(5.5, 1.5 + 0.45 * max((len(layers) for layers in recipes.values()), default=0))


def _text_on(protocol: str) -> str:
    return "#ffffff" if protocol in _DARK else "#222222"


def _colour(protocol: str) -> str:
    return _COLOURS.get(protocol, "#888888")


def new_figure(width: float, heights: list[float]) -> tuple[Any, list[Any]]:
    """Make a figure with axes one below the other; width and heights in inches."""
    # pyplot is not used: it would choose a display backend and keep every figure in memory.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, sum(heights)), dpi=150, layout="constrained")
    grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
    for axes in grid[:, 0]:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, list(grid[:, 0])


def _patch(colour: str, label: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=colour, label=label)


def save_figure(figure: Any, path: Path) -> None:
    """Write a PNG file; its folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
