"""Rows of finished trainings, made from their runs in the store."""

from __future__ import annotations

from workbench.errors import DamagedRunError
from workbench.experiments.result_rows import Cell
from workbench.reporting.tables import method_label
from workbench.store.mlflow_store import Store
from workbench.store.run_tags import COMMIT, KEY, MACHINE, PYTHON, VERSION
from workbench.store.runs import StoredRun
from workbench.store.stored_results import stored_filters
from workbench.training.protocols import PROTOCOLS


def make_cell(store: Store, run: StoredRun, cell: str) -> Cell:
    """Make the row of a finished training.

    Raises:
        DamagedRunError: when a value of the run is missing or invalid.
    """
    try:
        return _cell_of(store, run, cell)
    except (KeyError, ValueError) as error:
        what = f"has no {error.args[0]}" if isinstance(error, KeyError) else f"is damaged: {error}"
        raise DamagedRunError(
            f"run '{run.run_id}' {what}; run the same command with --fresh"
        ) from None


def _cell_of(store: Store, run: StoredRun, cell: str) -> Cell:
    params, metrics = run.params, run.metrics
    top_hits = metrics.get("test_top5_hits")
    compressed = PROTOCOLS[params["protocol"]].compressed
    kept = stored_filters(store, run) if compressed else ()
    return Cell(
        cell=cell,
        key=run.tags[KEY],
        source=params["source"],
        domain=params["domain"],
        model=params["model"],
        method=method_label(params),
        protocol=params["protocol"],
        seed=int(params["seed"]),
        epochs=int(params["epochs"]),
        schedule=params["schedule"],
        learning_rate=float(params["learning_rate"]),
        batch_size=int(params["batch_size"]),
        weight_decay=float(params["weight_decay"]),
        head=params.get("head", ""),
        temperature=params.get("temperature", ""),
        distill_weight=params.get("distill_weight", ""),
        weights=params.get("source_weights", ""),
        hits=round(metrics["test_hits"]),
        top_hits=None if top_hits is None else round(top_hits),
        images=round(metrics["test_images"]),
        parameters=round(metrics["parameters"]),
        footprint=round(metrics["footprint"], 6),
        flops=round(metrics["flops"]),
        flops_ratio=round(metrics["flops_ratio"], 6),
        latency_ms=metrics["latency_ms"],
        filters=" ".join(str(count) for _, count in kept),
        train_seconds=round(metrics["train_seconds"], 1),
        device=params["device"],
        precision=params["precision"],
        threads=int(params["threads"]),
        machine=run.tags.get(MACHINE, ""),
        torch=params["torch"],
        version=run.tags.get(VERSION, ""),
        commit=_short(run.tags.get(COMMIT, "")),
        run_id=run.run_id,
        python=run.tags.get(PYTHON, ""),
        date=run.started,
    )


def _short(commit: str) -> str:
    """Twelve digits of a commit's hash, with its suffix "-dirty" if any."""
    digits, dash, state = commit.partition("-")
    return f"{digits[:12]}{dash}{state}"
