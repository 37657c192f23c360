"""Table of the accuracies under attack (``--attack``)."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from workbench.reporting.results import ProtocolResult
from workbench.reporting.tables import ADAPT_DECIMALS, percent
from workbench.training.attack_names import attack_of, attack_title


def attack_columns(results: Sequence[ProtocolResult]) -> tuple[str, ...]:
    """Names of all attacks of these results, sorted by epsilon; empty without attacks."""
    names = {name for result in results for name in result.attacks}
    return tuple(sorted(names, key=lambda name: attack_of(name) or (0, name)))


def attack_table(
    results: Sequence[ProtocolResult],
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers and cells, one row per attacked network; no row without attacks."""
    names = attack_columns(results)
    rows = [
        (
            result.label,
            percent(result.accuracy_mean, ADAPT_DECIMALS),
            *(attack_cell(result, name) for name in names),
        )
        for result in results
        if result.attacks
    ]
    return ("network", "not attacked", *map(attack_title, names)), rows


def attack_cell(result: ProtocolResult, name: str) -> str:
    """Mean accuracy over the seeds under one attack; the number of seeds, if some are missing."""
    found = result.attacks.get(name)
    if not found:
        return "-"
    seeds, whole = len(found), len(result.hits)
    some = f" ({seeds} of {whole} seeds)" if seeds < whole else ""
    return percent(fmean(found), ADAPT_DECIMALS) + some
