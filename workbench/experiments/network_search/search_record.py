"""Write a search to its MLflow run: metrics, the table as JSON, the sentences and the chart."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from workbench.experiments.network_search.candidates import FULL
from workbench.experiments.network_search.pareto_chart import pareto_chart
from workbench.experiments.network_search.search_report import (
    COLUMNS,
    as_plain,
    chart_points,
    cost_unit,
    search_rows,
    search_sentences,
)
from workbench.experiments.network_search.search_result import Search
from workbench.reporting.tables import markdown_table
from workbench.store.recorder import Recorder
from workbench.store.run_tags import ADAPTATION

CHART_FILE, TABLE_FILE, TEXT_FILE = "pareto.png", "search.json", "search.md"


def draw(result: Search, path: Path) -> None:
    """Draw the Pareto front of a search to a PNG file."""
    found = result.found
    pareto_chart(
        chart_points(result),
        path,
        title=f"{result.adaptation.settings['target']}: {len(found.trials)} trials",
        unit=cost_unit(result),
        accuracy="accuracy on validation images, %",
        wanted=found.wanted if found.wanted > 0 else None,
    )


def write_search(result: Search, recorder: Recorder) -> None:
    """Log the results of a search; a repeated call writes the same again."""
    store, found = recorder.store, result.found
    entries = {each.candidate: each for each in found.entries}
    metrics = {"trials": len(found.trials), "wanted_accuracy": found.wanted}
    for name, candidate in (("full", FULL), ("chosen", found.chosen)):
        if candidate in entries:
            metrics[f"{name}_validation_accuracy"] = entries[candidate].accuracy
            metrics[f"{name}_cost"] = entries[candidate].cost
    tags = {"recommended": found.chosen.label, ADAPTATION: result.adaptation.run_id}
    store.log(result.run_id, metrics=metrics, tags=tags)
    store.attach_text(result.run_id, TABLE_FILE, json.dumps(as_plain(result), indent=1))
    text = [*search_sentences(result), "", markdown_table(COLUMNS, search_rows(result))]
    store.attach_text(result.run_id, TEXT_FILE, "\n".join(text) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / CHART_FILE
        draw(result, path)
        store.attach(result.run_id, path)
