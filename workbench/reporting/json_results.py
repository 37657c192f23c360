"""An adaptation as plain data: JSON and MLflow metrics."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from workbench.data.checked_values import listed, mapped, short_text
from workbench.models.factors import plain_factors
from workbench.reporting.results import Adaptation, ProtocolResult
from workbench.reporting.verdict_text import split_of, verdict_notes, verdict_sentence


def as_dict(adaptation: Adaptation) -> dict[str, Any]:
    """Convert an adaptation to plain data; accuracies are fractions, undefined values None."""
    settings, taken = adaptation.settings, adaptation.verdict.recommended
    factors = adaptation.recipe.factors
    staged = [_protocol_dict(result) for result in adaptation.stages]
    return {
        **{name: settings[name] for name in ("source", "target", "model", "method")},
        "settings": dict(settings),
        "recipe": adaptation.recipe.rows(),
        **({"factors": plain_factors(factors)} if factors else {}),
        "protocols": [_protocol_dict(result) for result in adaptation.protocols],
        **({"stages": staged} if staged else {}),
        "recommended": adaptation.verdict.recommended.protocol,
        **({"recommended_stage": taken.stage} if taken.stage else {}),
        "verdict": verdict_sentence(adaptation.verdict),
        "verdict_notes": verdict_notes(adaptation.verdict),
        "verdict_details": {
            "prefer": adaptation.verdict.prefer,
            "tolerance": adaptation.verdict.tolerance,
            "most_accurate": adaptation.verdict.best.label,
            "p_value": adaptation.verdict.p_value,
            "not_recommended": dict(adaptation.verdict.refused),
        },
        "trained": adaptation.trained,
        "run_id": adaptation.run_id,
        "tracking_uri": adaptation.tracking_uri,
    }


def recommended(content: object) -> list[str]:
    """Ids of the trainings of the recommended network, from plain data that ``as_dict`` made.

    Raises:
        ValueError: when the data are not a result.
    """
    saved = mapped("it", content)
    return _run_ids(saved, "protocols", {"protocol": saved.get("recommended")})


def recommended_files(content: object) -> list[str]:
    """Ids of the runs that hold the recommended file: those of its stage, or else the trainings.

    Raises:
        ValueError: when the data are not a result.
    """
    saved = mapped("it", content)
    stage = saved.get("recommended_stage")
    if stage is None:
        return recommended(content)
    return _run_ids(saved, "stages", {"protocol": saved.get("recommended"), "stage": stage})


def _run_ids(saved: dict[str, Any], rows: str, wanted: dict[str, Any]) -> list[str]:
    for value in wanted.values():
        short_text("recommended", value)
    for row in listed(rows, saved.get(rows)):
        if wanted.items() <= mapped("a network", row).items():
            return [short_text("a run's id", run) for run in listed("run_ids", row.get("run_ids"))]
    raise ValueError("it has no result of the recommended network")


def summary_metrics(adaptation: Adaptation) -> dict[str, float]:
    """Metrics of the run of an adaptation: the recommended network's, and all mean accuracies."""
    taken = adaptation.verdict.recommended
    metrics = {
        f"{split_of(adaptation)}_accuracy": taken.accuracy_mean,
        "parameters": taken.parameters,
        "footprint": taken.footprint,
        "flops": taken.flops,
        "flops_ratio": taken.flops_ratio,
        "train_seconds": taken.train_seconds,
    }
    times = taken.timing or (None, None)  # of a stage's file, which torch does not run
    for name, timing in zip(("latency_ms", "latency_64_ms"), times, strict=True):
        value = getattr(taken, name)
        if value is None and timing is not None:
            value = timing.median
        if value is not None:
            metrics[name] = value
    if taken.file_bytes is not None:
        metrics["file_bytes"] = taken.file_bytes
    for result in adaptation.networks:
        name = result.label.replace(" ", "-")
        metrics[f"accuracy_mean/{name}"] = result.accuracy_mean
        if result.accuracy_std is not None:
            metrics[f"accuracy_std/{name}"] = result.accuracy_std
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
        "file_bytes": result.file_bytes,
        **({"exit_shares": list(result.exit_shares)} if result.exit_shares else {}),
        **({"attacks": _attacks(result)} if result.attacks else {}),
        **({"latencies": _latencies(result)} if result.timings else {}),
        **({"stage": result.stage, "left_float": list(result.left_float)} if result.stage else {}),
    }


def _attacks(result: ProtocolResult) -> dict[str, list[float]]:
    return {name: list(found) for name, found in result.attacks.items()}


def _latencies(result: ProtocolResult) -> dict[str, Any]:
    """Times in milliseconds by runtime and batch size."""
    return {
        runtime: {"batch_1": asdict(one), "batch_64": asdict(many)}
        for runtime, (one, many) in result.timings.items()
    }
