"""The exits of recorded networks, for their report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from workbench.data.checked_values import listed, mapped, number
from workbench.errors import DamagedRunError
from workbench.reporting.report.exit_section import NetworkExits
from workbench.reporting.report.networks import ReportedNetwork
from workbench.store.mlflow_store import Store
from workbench.store.runs import StoredRun
from workbench.store.stored_results import STAGE_FILE, read_artifact

_MOST_EXITS = 1000
_Plan = tuple[tuple[float, ...], tuple[float, ...]]


def recorded_exits(
    store: Store, networks: Sequence[ReportedNetwork], runs: Mapping[str, StoredRun]
) -> tuple[list[NetworkExits], list[str]]:
    """The exits of all networks that have some, and a line about each damaged record.

    Args:
        runs: the runs of the networks by their id; those that the store lacks are left out.
    """
    found, missing = [], []
    for each in networks:
        own = [runs[run_id] for run_id in each.run_ids if run_id in runs]
        shares = [_shares(run.metrics) for run in own]
        if not (own and shares[0]) or len({len(one) for one in shares}) > 1:
            continue
        mean = tuple(fmean(column) for column in zip(*shares, strict=True))
        try:
            plans = [read_artifact(store, run, STAGE_FILE, _plan) for run in own]
        except DamagedRunError as error:
            missing.append(f"Thresholds of {each.label}: {error}.")
            plans = []
        if any(len(part) != len(mean) - 1 for plan in plans for part in plan):
            missing.append(f"Thresholds of {each.label}: there is not one for each exit.")
            plans = []
        thresholds = tuple(zip(*(plan[1] for plan in plans), strict=True))
        found.append(NetworkExits(each.label, mean, plans[0][0] if plans else (), thresholds))
    return found, missing


def _shares(metrics: Mapping[str, float]) -> list[float]:
    """The shares of the images that leave at exits 1, 2, ...; empty without exits."""
    names = [f"exit_{number}_share" for number in range(1, _MOST_EXITS)]
    return [metrics[name] for name in names if name in metrics]


def _plan(saved: object) -> _Plan:
    """Depths and thresholds in the report of the stage ``multi-exit``."""
    details = mapped("details", mapped("it", saved).get("details"))
    depths = listed("depths", details.get("depths"), 1, _MOST_EXITS)
    limits = listed("thresholds", details.get("thresholds"), 1, _MOST_EXITS)
    return (
        tuple(number("a depth", each, 0, 1) for each in depths),
        tuple(math.inf if each == "inf" else number("a threshold", each, 0, 1) for each in limits),
    )
