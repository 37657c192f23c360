"""A search as text: the table of its networks, the choice, and the next commands."""

from __future__ import annotations

from workbench.experiments.network_search.candidates import FULL, SOURCE
from workbench.experiments.network_search.pareto_chart import ChartPoint
from workbench.experiments.network_search.search_result import Entry, Search
from workbench.reporting.results import ProtocolResult
from workbench.reporting.statistics import paired_p_value

COLUMNS = (
    "network",
    "front",
    "validation accuracy (95 %)",
    "cost",
    "parameters",
    "FLOPs",
    "epochs",
    "seeds",
)
_UNITS = {
    "flops": "FLOPs of one image",
    "params": "parameters",
    "bytes": "bytes",
    "latency": "latency of one image, ms",
}
_WORDS = {"flops": "FLOPs", "params": "parameters", "bytes": "bytes", "latency": "latency"}


def cost_unit(result: Search) -> str:
    """The cost with its unit and its runtime, for the axis of a chart."""
    cost, runtime = result.settings["cost"], result.settings["runtime"]
    where = f" in {runtime}" if cost in ("latency", "bytes") else ""
    return f"{_UNITS[cost]}{where}"


def cost_text(cost: float, unit: str) -> str:
    """A cost with its unit, in three digits."""
    if unit == "latency":
        return f"{cost:.3g} ms"
    for size, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if cost >= size:
            return f"{cost / size:.3g} {name}{'B' if unit == 'bytes' else ''}"
    return f"{cost:.0f}{' B' if unit == 'bytes' else ''}"


def search_rows(result: Search) -> list[tuple[str, ...]]:
    """One row for each candidate with its longest trainings, by descending cost."""
    front = {each.candidate for each in result.found.front}
    full = next((e for e in result.found.entries if e.candidate == FULL), None)
    return [
        _row(each, each.candidate in front, full, result) for each in reversed(result.found.entries)
    ]


def _row(each: Entry, front: bool, full: Entry | None, result: Search) -> tuple[str, ...]:
    low, high = each.interval
    chosen = each.candidate == result.found.chosen
    share = {"parameters": "", "flops": ""}
    if full:
        share = {
            name: f"{100 * getattr(each.trials[0], name) / getattr(full.trials[0], name):.1f} %"
            for name in share
        }
    return (
        each.candidate.label,
        "chosen" if chosen else "yes" if front else "",
        f"{100 * each.accuracy:.2f} % ({100 * low:.1f} to {100 * high:.1f})",
        cost_text(each.cost, result.settings["cost"]),
        share["parameters"],
        share["flops"],
        str(each.epochs),
        str(len(each.trials)),
    )


def chart_points(result: Search) -> list[ChartPoint]:
    """The networks of the chart: those with the longest trainings."""
    found = result.found
    front = {each.candidate for each in found.front}
    shown = [e for e in found.entries if e.epochs == found.epochs or e.candidate in front]
    return [
        ChartPoint(
            each.cost,
            each.accuracy,
            *each.interval,
            label=each.candidate.label if each.candidate in front or each.candidate == FULL else "",
            front=each.candidate in front,
            chosen=each.candidate == found.chosen,
        )
        for each in shown or found.entries
    ]


def search_sentences(result: Search) -> list[str]:
    """What was chosen, why, and what the test images say about it."""
    found, lines = result.found, []
    entries = {each.candidate: each for each in found.entries}
    full, chosen = entries.get(FULL), entries.get(found.chosen)
    tolerance = result.adaptation.verdict.tolerance
    points = f"{tolerance:g} point{'' if tolerance == 1 else 's'}"
    if not any(trial.candidate.method for trial in found.trials):
        lines.append("no smaller network was tried in this time")
    elif chosen is None or full is None or found.chosen == FULL:
        lines.append(
            f"no smaller network that was tried is within {points} of the full one "
            "on the validation images"
        )
    else:
        lines.append(
            f"{found.chosen.label} is the cheapest network found within {points} of "
            f"the full one: {100 * chosen.accuracy:.2f} % (full-fine: {100 * full.accuracy:.2f} %) "
            f"on {chosen.trials[0].images} validation images, "
            f"{100 * chosen.cost / full.cost:.3g} % of its {_WORDS[result.settings['cost']]}"
        )
    if not found.complete:
        lines.append("the search is not complete: the same command with more --time continues it")
    if found.seen and SOURCE in entries:
        lines.append(
            "the source network was trained on the validation images (accuracy there: "
            f"{100 * entries[SOURCE].accuracy:.2f} %), so the search does not compare with it, and "
            "all validation accuracies are too high"
        )
    if full and 100 / full.trials[0].images > tolerance:
        lines.append(
            f"warning: one of {full.trials[0].images} validation images counts for more than the "
            f"tolerance of {points}; use a larger --validation or --tolerance"
        )
    return [*lines, *_test_lines(result)]


def _test_lines(result: Search) -> list[str]:
    """Accuracies on the test images, of networks trained on all training images."""
    own = {each.protocol: each for each in result.adaptation.protocols}
    full, small = own.get("full-fine"), own.get("pfa-fine")
    if full is None or small is None:
        return [
            f"on {each.images} test images: {name} {100 * each.accuracy_mean:.2f} % "
            f"({_interval(each)})"
            for name, each in own.items()
        ]
    p_value = paired_p_value(small.correct, full.correct)
    tail = "" if p_value is None else f" (paired test over the images: p = {p_value:.2g})"
    parts = [
        f"{name} {100 * each.accuracy_mean:.2f} % ({_interval(each)})"
        for name, each in (("pfa-fine", small), ("full-fine", full), ("source", own.get("source")))
        if each
    ]
    lines = [
        f"on {small.images} test images, after training on all images: {', '.join(parts)}{tail}"
    ]
    lost = 100 * (full.accuracy_mean - small.accuracy_mean)
    if lost > result.adaptation.verdict.tolerance + 1e-9:
        lines.append(
            f"warning: on the test images it is {lost:.1f} points below full-fine, more than the "
            "tolerance: short trainings and few images make the choice uncertain; use more "
            "--epochs or --seeds"
        )
    return lines


def _interval(result: ProtocolResult) -> str:
    low, high = result.accuracy_interval
    return f"{100 * low:.1f} to {100 * high:.1f}"


def as_plain(result: Search) -> dict[str, object]:
    """The search as plain data for JSON."""
    found = result.found
    front = {each.candidate for each in found.front}
    return {
        "settings": dict(result.settings),
        "chosen": found.chosen.label,
        "wanted": found.wanted,
        "complete": found.complete,
        "source_saw_validation_images": found.seen,
        "networks": [
            {
                "network": each.candidate.label,
                "method": each.candidate.method,
                "share": each.candidate.share,
                "front": each.candidate in front,
                "cost": each.cost,
                "parameters": each.trials[0].parameters,
                "flops": each.trials[0].flops,
                "epochs": each.epochs,
                "accuracies": [trial.accuracy for trial in each.trials],
                "interval": list(each.interval),
                "runs": [trial.run_id for trial in each.trials],
            }
            for each in found.entries
        ],
        "trials": len(found.trials),
        "run": result.run_id,
        "adaptation": result.adaptation.run_id,
        "test": {
            each.protocol: {"accuracies": list(each.accuracies), "images": each.images}
            for each in result.adaptation.protocols
        },
    }
