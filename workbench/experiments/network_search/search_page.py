"""The report of a recorded search: its networks and choice, and the adaptation that it chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.adaptation.results.report_facts import command_line, command_of
from workbench.adaptation.results.run_report import collect_report, images_of, recorded_adaptation
from workbench.data.checked_values import listed, mapped, number, short_text
from workbench.errors import SettingsError
from workbench.experiments.network_search.search_record import TABLE_FILE, TEXT_FILE
from workbench.experiments.network_search.search_report import cost_text
from workbench.reporting.report.adaptation_page import adaptation_page
from workbench.reporting.report.charts import trade_off
from workbench.reporting.report.page import Cell, Chart, Page, Section, Table, View
from workbench.reporting.tables import count, percent
from workbench.store.mlflow_store import Store
from workbench.store.run_tags import ADAPTATION
from workbench.store.runs import StoredRun
from workbench.store.stored_results import read_artifact

_COLUMNS = (
    "network", "validation accuracy", "95 % interval", "cost", "parameters", "FLOPs", "epochs",
    "seeds", "front",
)  # fmt: skip
_FRONT, _OTHERS = "on the front", "others"
_TITLES = {
    "flops": "FLOPs of one image",
    "params": "parameters",
    "bytes": "bytes",
    "latency": "latency of one image, ms",
}
#: Options of the chosen network's adaptation that the search set.
_CHOSEN = (
    "method", "footprint", "flops", "params", "latency_ms", "protocols", "stages", "validation"
)  # fmt: skip


def search_page(store: Store, run: StoredRun, data_dir: Path | None) -> Page:
    """The report of a search, with that of the adaptation of its chosen network.

    Raises:
        SettingsError: when the search has not trained its chosen network yet.
        DamagedRunError: when a result is missing or damaged.
    """
    if ADAPTATION not in run.tags:
        raise SettingsError(
            f"run '{run.run_id}' is a search that is {run.status} and has chosen no network yet; "
            "run the same 'workbench shrink' command again, which continues it"
        )
    saved = read_artifact(store, run, TABLE_FILE, _checked)
    found = recorded_adaptation(store, store.run(run.tags[ADAPTATION]))
    report = collect_report(store, found, images_of(found, data_dir, store.uri))
    sentences = _sentences(store, run)
    options = {k: v for k, v in command_of(store, found.run).items() if k not in _CHOSEN}
    settings = mapped("settings", saved["settings"])
    facts = [
        ("command", command_line("shrink", {**options, **_search_options(settings)})),
        *[(name, text) for name, text in report.facts if name != "command"],
        ("search", run.run_id),
    ]
    own = adaptation_page(replace(report, facts=facts, code=report.code | {"search"}))
    return replace(
        own,
        title=f"shrink · {own.title}",
        lead=sentences[0] if sentences else own.lead,
        notes=[*sentences[1:], own.lead, *own.notes],
        sections=[_section(saved, settings), *own.sections],
    )


def _sentences(store: Store, run: StoredRun) -> list[str]:
    """The sentences about the choice, which precede the table of the search's text."""
    path = store.fetch(run, TEXT_FILE)
    if path is None:
        return []
    try:
        return path.read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _search_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    options = dict(settings)
    options["validation"] = options.pop("validation_share", None)
    if options.get("runtime") == "torch":
        options.pop("runtime")
    return options


def _checked(content: object) -> dict[str, Any]:
    """The plain data of a search, with the values checked that the page uses."""
    saved = mapped("it", content)
    settings = mapped("settings", saved.get("settings"))
    if settings.get("cost") not in _TITLES:
        raise ValueError("its cost is unknown")
    short_text("chosen", saved.get("chosen"))
    for row in listed("networks", saved.get("networks")):
        fields = mapped("a network", row)
        short_text("network", fields.get("network"))
        for value in listed("accuracies", fields.get("accuracies"), 1):
            number("an accuracy", value, 0, 1)
        for name in ("cost", "parameters", "flops", "epochs"):
            number(name, fields.get(name))
        for bound in listed("interval", fields.get("interval", [0, 1]), 2, 2):
            number("an interval", bound, 0, 1)
    return saved


def _section(saved: Mapping[str, Any], settings: Mapping[str, Any]) -> Section:
    """The table and the chart of all networks that were tried."""
    unit, networks = settings["cost"], saved["networks"]
    title = "Networks of the search"
    if not networks:
        return Section("search", title, ["The time was over before a network was tried."], [])
    points, rows = [], []
    for each in networks:
        accuracy = sum(each["accuracies"]) / len(each["accuracies"])
        low, high = each.get("interval", (accuracy, accuracy))
        cost, known = cost_text(each["cost"], unit), "interval" in each
        between = f"{100 * low:.1f} to {100 * high:.1f}" if known else "-"
        front = "yes" if each.get("front") else ""
        rows.append([
            Cell(each["network"]),
            Cell(percent(accuracy, 2), accuracy),
            Cell(between, low if known else None),
            Cell(cost, each["cost"]),
            Cell(count(each["parameters"]), each["parameters"]),
            Cell(count(each["flops"]), each["flops"]),
            Cell(str(each["epochs"]), each["epochs"]),
            Cell(str(len(each["accuracies"])), len(each["accuracies"])),
            Cell(front),
        ])  # fmt: skip
        points.append({
            "series": _FRONT if front else _OTHERS,
            "form": "trial",
            "cost": each["cost"],
            "accuracy": round(100 * accuracy, 3),
            "low": round(100 * low, 3),
            "high": round(100 * high, 3),
            "chosen": each["network"] == saved["chosen"],
            "network": each["network"],
            "cost_text": cost,
            "words": f"{each['network']}: {percent(accuracy, 2)}, {cost}",
        })  # fmt: skip
    labels = [each["network"] for each in networks]
    marked = labels.index(saved["chosen"]) if saved["chosen"] in labels else None
    text = "Accuracy on the validation images against cost, of every network that was tried"
    shown = [point for point in points if point["cost"] > 0]
    chart = Chart(
        text, trade_off([_FRONT, _OTHERS], ["trial"], ""), [View("", shown, x_title=_TITLES[unit])]
    )
    caption = "Networks of the search; the chosen one is in bold. Select a heading to sort."
    lines = [
        "Accuracies of this section are on validation images, of networks that were trained on the "
        "other training images. The ring marks the chosen network."
    ]
    table = Table(caption, _COLUMNS, rows, marked)
    return Section("search", title, lines, [chart, table])
