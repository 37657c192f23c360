"""An adaptation as plain data: JSON and MLflow metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.data.checked_values import listed, mapped, short_text
from workbench.reporting.results import Adaptation, ProtocolResult
from workbench.reporting.verdict_text import verdict_sentence

if TYPE_CHECKING:
    pass


def as_dict(adaptation: Adaptation) -> dict[str, Any]:
    """Convert an adaptation to plain data; accuracies are fractions, undefined values None."""
    settings = adaptation.settings
    return {
        **{name: settings[name] for name in ("source", "target", "model", "method")},
        "settings": dict(settings),
        "recipe": adaptation.recipe.rows(),
        "protocols": [_protocol_dict(result) for result in adaptation.protocols],
        "recommended": adaptation.verdict.recommended.protocol,
        "verdict": verdict_sentence(adaptation.verdict),
        "trained": adaptation.trained,
        "run_id": adaptation.run_id,
        "tracking_uri": adaptation.tracking_uri,
    }


def recommended(content: object) -> list[str]:
    """Ids of the runs of the recommended network, from plain data that ``as_dict`` made.

    Raises:
        ValueError: when the data are not a result.
    """
    saved = mapped("it", content)
    taken = short_text("recommended", saved.get("recommended"))
    for row in listed("protocols", saved.get("protocols")):
        if mapped("a protocol", row).get("protocol") == taken:
            return [short_text("a run's id", run) for run in listed("run_ids", row.get("run_ids"))]
    raise ValueError("it has no result of the recommended protocol")


def summary_metrics(adaptation: Adaptation) -> dict[str, float]:
    """Metrics of the run of an adaptation: the recommended network's, and all mean accuracies."""
    taken = adaptation.verdict.recommended
    metrics = {
        "test_accuracy": taken.accuracy_mean,
        "parameters": taken.parameters,
        "footprint": taken.footprint,
        "flops": taken.flops,
        "flops_ratio": taken.flops_ratio,
        "train_seconds": taken.train_seconds,
    }
    for name in ("latency_ms", "latency_64_ms"):
        if getattr(taken, name) is not None:
            metrics[name] = getattr(taken, name)
    for result in adaptation.protocols:
        metrics[f"accuracy_mean/{result.protocol}"] = result.accuracy_mean
        if result.accuracy_std is not None:
            metrics[f"accuracy_std/{result.protocol}"] = result.accuracy_std
    return metrics


def _protocol_dict(result: ProtocolResult) -> dict[str, Any]:
    return {
        "protocol": result.protocol,
        "accuracy_mean": result.accuracy_mean,
        "accuracy_std": result.accuracy_std,
        "accuracies": list(result.accuracies),
        "accuracy_interval": list(result.accuracy_interval),
        "parameters": result.parameters,
        "footprint": result.footprint,
        "flops": result.flops,
        "flops_ratio": result.flops_ratio,
        "latency_ms": result.latency_ms,
        "latency_64_ms": result.latency_64_ms,
        "train_seconds": result.train_seconds,
        "run_ids": list(result.run_ids),
        "weights": result.weights,
    }
