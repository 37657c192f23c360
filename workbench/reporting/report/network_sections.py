"""Sections about whole networks: the table, accuracy against cost, training curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev
from typing import Any

from workbench.reporting.report.charts import trade_off, training_curves
from workbench.reporting.report.networks import ReportedNetwork
from workbench.reporting.report.page import Cell, Chart, Section, Table, Tile, View
from workbench.reporting.tables import ADAPT_DECIMALS, byte_count, count, percent

_FLOAT32 = "float32"
_MOST_EPOCHS = 120  # points of a curve; of longer trainings, evenly spread epochs are shown
_SAME_COST, _APART = 1.01, 1.035  # networks of the same cost are drawn beside each other


@dataclass(frozen=True)
class Cost:
    """A cost of a network.

    Attributes:
        title: with its unit.
        value: of a network; None if it is not known.
        text: a value with its unit.
    """

    title: str
    value: Callable[[ReportedNetwork], float | None]
    text: Callable[[float], str]


COSTS: Mapping[str, Cost] = {
    "FLOPs": Cost("FLOPs of one image", lambda each: each.flops, count),
    "parameters": Cost("parameters", lambda each: each.parameters, count),
    "latency": Cost(
        "latency of one image, ms", lambda each: each.latency_ms, lambda value: f"{value:.3g} ms"
    ),
    "bytes": Cost("bytes of the file", lambda each: each.file_bytes, lambda n: byte_count(int(n))),
}


@dataclass(frozen=True)
class Training:
    """The course of one training.

    Attributes:
        protocol, seed: of the training.
        losses, rates: mean training loss, and learning rate, by the number of the epoch.
    """

    protocol: str
    seed: str
    losses: Mapping[int, float]
    rates: Mapping[int, float]


def network_row(each: ReportedNetwork) -> list[Cell]:
    """The cells of a network, with the columns ``COLUMNS``."""
    seeds = len(each.accuracies)
    spread = f" ± {100 * stdev(each.accuracies):.{ADAPT_DECIMALS}f}" if seeds > 1 else ""
    return [
        Cell(each.label),
        Cell(f"{_accuracy(each)}{spread}", each.accuracy),
        Cell(f"{100 * each.low:.1f} to {100 * each.high:.1f}", each.low),
        Cell(str(seeds), seeds),
        _maybe(each.file_bytes, lambda value: byte_count(int(value))),
        Cell(f"{count(each.parameters)} ({100 * each.footprint:.3g} %)", each.parameters),
        Cell(f"{count(each.flops)} ({100 * each.flops_ratio:.3g} %)", each.flops),
        _maybe(each.latency_ms, _milliseconds),
        _maybe(each.latency_64_ms, _milliseconds),
        Cell(f"{each.train_seconds:.1f} s", each.train_seconds),
    ]


def _accuracy(each: ReportedNetwork) -> str:
    return percent(each.accuracy, ADAPT_DECIMALS)


COLUMNS = (
    "network", "accuracy", "95 % interval", "seeds", "size", "parameters", "FLOPs", "latency",
    "batch of 64", "training",
)  # fmt: skip


def _milliseconds(value: float) -> str:
    return f"{value:.2f} ms" if value < 100 else f"{value:.0f} ms"


def _maybe(value: float | None, text: Callable[[float], str]) -> Cell:
    return Cell("-") if value is None else Cell(text(value), value)


def table_section(networks: Sequence[ReportedNetwork], recommended: str, line: str) -> Section:
    """The table of all networks.

    Args:
        recommended: label of the network to emphasise.
        line: explains the accuracies.
    """
    labels = [each.label for each in networks]
    marked = labels.index(recommended) if recommended in labels else None
    rows = [network_row(each) for each in networks]
    runtimes = sorted({each.runtime for each in networks if each.latency_ms is not None})
    lines = [line]
    if runtimes:
        lines.append(f"Latency: median of one image in {' or '.join(runtimes)}.")
    caption = "All networks; the recommended one is in bold. Select a heading to sort."
    return Section("networks", "Networks", lines, [Table(caption, COLUMNS, rows, marked)])


def trade_section(
    series: Mapping[str, Sequence[ReportedNetwork]],
    recommended: Mapping[str, str],
    series_title: str = "",
) -> Section:
    """Accuracy against cost, with a chooser for the cost.

    Args:
        series: networks by the name of their series, which has its colour.
        recommended: label of the network with a ring, by series.
        series_title: heading of the legend.
    """
    pairs = [(name, each) for name, found in series.items() for each in found]
    several = len(recommended) > 1
    forms = list(dict.fromkeys(_form(each, several) for _, each in pairs))
    views = []
    for label, cost in COSTS.items():
        known = [(name, each, value) for name, each in pairs if (value := cost.value(each))]
        if not known:
            continue
        places = _beside([value for *_, value in known])
        rows = [
            {
                **_point(each, cost.text(value)),
                "series": name,
                "form": _form(each, several),
                "cost": place,
                "chosen": recommended.get(name, recommended.get("")) == each.label,
            }
            for (name, each, value), place in zip(known, places, strict=True)
        ]
        views.append(View(label, rows, x_title=cost.title))
    lines = [
        "Bars are 95 % intervals; the ring marks the recommended network. Up and to the left is "
        "better. Networks of the same cost are drawn beside each other."
    ]
    spec = trade_off(list(series), forms, series_title)
    chart = Chart("Accuracy against cost for all networks", spec, views, chooser="Cost")
    return Section("trade", "Accuracy against cost", lines, [chart])


def _form(each: ReportedNetwork, several: bool) -> str:
    """What the shape of a network shows: its stage, or on a page of several runs its size."""
    if several:
        return f"{'compressed' if each.compressed else 'full'} {each.stage}".strip()
    return each.stage or _FLOAT32


def _point(each: ReportedNetwork, cost: str) -> dict[str, Any]:
    return {
        "accuracy": round(100 * each.accuracy, 3),
        "low": round(100 * each.low, 3),
        "high": round(100 * each.high, 3),
        "network": each.label,
        "cost_text": cost,
        "words": f"{each.label}: {_accuracy(each)} ({100 * each.low:.1f} to "
        f"{100 * each.high:.1f}), {cost}",
    }


def _beside(costs: Sequence[float]) -> list[float]:
    """Costs at which points are drawn: equal ones are moved apart by some percent."""
    groups: list[list[int]] = []
    for place in sorted(range(len(costs)), key=costs.__getitem__):
        if groups and costs[place] <= costs[groups[-1][0]] * _SAME_COST:
            groups[-1].append(place)
        else:
            groups.append([place])
    moved = list(costs)
    for group in groups:
        for rank, place in enumerate(sorted(group)):
            moved[place] = costs[place] * _APART ** (rank - (len(group) - 1) / 2)
    return moved


def training_section(trainings: Sequence[Training]) -> Section:
    """Loss and learning rate over the epochs of every training."""
    kinds = (("training loss", "losses"), ("learning rate", "rates"))
    views = [
        View(label, [row for each in trainings for row in _curve(each, field)], y_title=label)
        for label, field in kinds
    ]
    protocols = list(dict.fromkeys(each.protocol for each in trainings))
    chart = Chart(
        "Training loss or learning rate over the epochs, one line for each training",
        training_curves(protocols),
        [view for view in views if view.rows],
        chooser="Curve",
    )
    return Section("training", "Training curves", [], [chart])


def _curve(each: Training, field: str) -> list[dict[str, Any]]:
    points: Mapping[int, float] = getattr(each, field)
    epochs = sorted(points)
    step = -(-len(epochs) // _MOST_EPOCHS) if epochs else 1
    shown = [*epochs[::step], *(epochs[-1:] if (len(epochs) - 1) % step else [])]
    return [
        {
            "series": each.protocol,
            "seed": each.seed,
            "epoch": epoch,
            "value": float(f"{points[epoch]:.4g}"),
            "words": f"{each.protocol}, seed {each.seed}, epoch {epoch}: {points[epoch]:.4g}",
        }
        for epoch in shown
    ]


def tiles_of(
    networks: Sequence[ReportedNetwork],
    recommended: str,
    full: ReportedNetwork | None,
    small: ReportedNetwork | None,
) -> list[Tile]:
    """Accuracy and costs of the recommended network in large type.

    If a full network is recommended, the small one is shown beside it.
    """
    taken = next((each for each in networks if each.label == recommended), None)
    if taken is None:
        return []
    tiles = [Tile(_accuracy(taken), f"accuracy of {taken.label}")]
    if not (taken.compressed or taken.stage):
        if small is not None:
            tiles.append(
                Tile(percent(small.accuracy, ADAPT_DECIMALS), f"accuracy of {small.label}")
            )
            tiles.append(Tile(f"{100 * small.footprint:.3g} %", f"parameters of {small.label}"))
            tiles.append(Tile(f"{100 * small.flops_ratio:.3g} %", f"FLOPs of {small.label}"))
        return tiles
    if taken.compressed:
        tiles.append(Tile(f"{100 * taken.footprint:.3g} %", "of the full network's parameters"))
        tiles.append(Tile(f"{100 * taken.flops_ratio:.3g} %", "of its FLOPs"))
    if full and full is not taken and full.latency_ms and taken.latency_ms:
        ratio = full.latency_ms / taken.latency_ms
        tiles.append(Tile(f"{ratio:.2g}x", f"the speed of {full.label} on one image"))
    if full and full is not taken and full.file_bytes and taken.file_bytes:
        share = 100 * taken.file_bytes / full.file_bytes
        tiles.append(Tile(byte_count(taken.file_bytes), f"file, {share:.2g} % of {full.label}"))
    return tiles
