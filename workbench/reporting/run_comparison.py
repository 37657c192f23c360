"""All finished runs of a store side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from workbench.compression.recipe_settings import RECIPE_OPTIONS
from workbench.compression.recipes import Recipe
from workbench.errors import StoreError
from workbench.reporting.charts import comparison_chart
from workbench.reporting.results import ProtocolResult
from workbench.reporting.tables import method_label
from workbench.store.addresses import store_exists, store_uri
from workbench.store.mlflow_store import Store
from workbench.store.recorder import DROPPED, KEY, KIND, RECIPE_FILE, WEIGHTS
from workbench.store.runs import StoredRun
from workbench.store.unfinished_work import WEIGHTS_FILE
from workbench.training.protocols import PROTOCOLS

#: Parameters in which runs of one row agree; what differs between them is the seed alone.
_SETTINGS = (
    "source", "domain", "model", "epochs", "schedule", "learning_rate", "batch_size",
    "weight_decay", "head", "method", "energy", *RECIPE_OPTIONS, "protocol", "temperature",
    "distill_weight", "device", "precision", "threads", "source_weights", "data",
)  # fmt: skip


@dataclass(frozen=True)
class ComparedResult:
    """One protocol under one set of settings, over all its seeds in the store.

    Attributes:
        source, domain, model, method: what was adapted to what.
        training: epochs, schedule and learning rate, for people.
        result: as ``adapt`` gives it.
        filters: of the recipe, (full, kept) a layer; empty for full networks.
    """

    source: str
    domain: str
    model: str
    method: str
    training: str
    result: ProtocolResult
    filters: tuple[tuple[int, int], ...]


def compare(
    *, tracking_uri: str | None = None, source: str | None = None, target: str | None = None
) -> list[ComparedResult]:
    """Every finished protocol in the store, the seeds of one setting taken together.

    Args:
        source, target: only runs of this source or domain.

    Raises:
        StoreError: when there is no store, or no finished run in it.
    """
    uri = store_uri(tracking_uri)
    if not store_exists(tracking_uri):
        raise StoreError(f"store {uri}: there is none yet; run 'workbench adapt' first")
    store = Store(tracking_uri)
    experiments = store.experiments()
    chosen = [number for name, number in experiments.items() if source in (None, name)]
    runs = store.runs(chosen, {KIND: "protocol"}, finished=True)
    groups: dict[tuple[str, ...], dict[str, StoredRun]] = {}
    for run in runs:
        whole = "seed" in run.params and "test_hits" in run.metrics
        if whole and target in (None, run.params.get("domain")):
            # Runs come newest first: of one training done twice the newer counts.
            place = tuple(run.params.get(name, "") for name in _SETTINGS)
            size = f"{run.metrics.get('parameters', 0):.0f}"
            groups.setdefault((*place, size), {}).setdefault(run.tags[KEY], run)
    if not groups:
        wanted = f" for {target or source}" if target or source else ""
        raise StoreError(f"store {uri}: no finished run{wanted}; run 'workbench adapt' first")
    found = [_merge(store, list(group.values())) for group in groups.values()]
    order = list(PROTOCOLS)
    return sorted(
        found,
        key=lambda row: (
            row.source, row.domain, row.model, row.training,
            order.index(row.result.protocol), row.method,
        ),
    )  # fmt: skip


def comparison_rows(rows: Sequence[ComparedResult]) -> list[tuple[str, ...]]:
    """Cells of the columns that stand before those of the result table."""
    return [(row.domain, row.model, row.method, row.training) for row in rows]


def draw_comparison(rows: Sequence[ComparedResult], path: Path) -> None:
    """Write both charts, accuracies and filters kept, into one PNG file."""
    accuracies: dict[str, list[ProtocolResult]] = {}
    filters: dict[str, tuple[tuple[int, int], ...]] = {}
    several = len({(row.model, row.training) for row in rows}) > 1
    methods = {row.method for row in rows if row.filters}
    for row in rows:
        label = f"{row.domain}\n{row.model}\n{row.training}" if several else row.domain
        accuracies.setdefault(label, []).append(row.result)
        if row.filters:
            method = f" · {row.method}" if len(methods) > 1 else ""
            filters.setdefault(label.replace("\n", " · ") + method, row.filters)
    comparison_chart(accuracies, filters, path)


def _merge(store: Store, runs: list[StoredRun]) -> ComparedResult:
    runs = sorted(runs, key=lambda run: int(run.params["seed"]))
    first = runs[0]
    kept = [run for run in runs if run.tags.get(WEIGHTS) != DROPPED]
    best = min(kept, key=lambda run: run.train_loss, default=None)
    return ComparedResult(
        source=first.params["source"],
        domain=first.params["domain"],
        model=first.params["model"],
        method=method_label(first.params),
        training=f"{first.params['epochs']} epochs, {first.params['schedule']}, "
        f"lr {float(first.params['learning_rate']):g}",
        result=ProtocolResult(
            protocol=first.params["protocol"],
            hits=tuple(round(run.metrics["test_hits"]) for run in runs),
            images=round(first.metrics["test_images"]),
            parameters=round(first.metrics["parameters"]),
            footprint=first.metrics["footprint"],
            flops=round(first.metrics["flops"]),
            flops_ratio=first.metrics["flops_ratio"],
            latency_ms=first.metrics.get("latency_ms"),
            latency_64_ms=first.metrics.get("latency_64_ms"),
            train_seconds=fmean(run.metrics["train_seconds"] for run in runs),
            run_ids=tuple(run.run_id for run in runs),
            weights=best.artifact(WEIGHTS_FILE) if best else None,
        ),
        filters=_filters(store, first),
    )


def _filters(store: Store, run: StoredRun) -> tuple[tuple[int, int], ...]:
    if not PROTOCOLS[run.params["protocol"]].compressed:
        return ()
    path = store.fetch(run, RECIPE_FILE)
    return Recipe.counts(path.read_text()) if path else ()
