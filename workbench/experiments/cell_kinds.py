"""Execute a cell of any kind in this process, for ``workbench cell``.

A cell uses the same recorder and keys as every command, so a recorded cell is found at once, and
two processes never do the same work.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from workbench.adaptation.preparation import Prepared, prepare
from workbench.adaptation.single_steps import SingleStep, StepRun, run_step
from workbench.errors import DataError, SettingsError, WeightsError
from workbench.experiments.engines.cells import TRIAL, Cell
from workbench.experiments.engines.waves import expected_data
from workbench.experiments.network_search.trial_cells import run_trial, trial_options
from workbench.training.progress import Display

_REMEDY = "copy the data again, or name a shared folder by --data-dir"


def run_cell(cell: Cell, display: Display | None = None) -> dict[str, Any]:
    """Execute a cell, or find its run.

    Args:
        display: shows progress and messages; None shows nothing.

    Returns:
        Plain data: kind, key and id of the run, whether it is new, its metrics, and the seconds.

    Raises:
        WorkbenchError: for every error that the user can fix; see ``workbench.errors``.
    """
    start = time.monotonic()
    options = dict(cell.options) | (trial_options(cell) if cell.kind == TRIAL else {})
    prepared = prepare(options, display or Display())
    _check_machine(cell, prepared)
    found = _execute(cell, prepared)
    return {
        "kind": cell.kind,
        "key": found.key,
        "run_id": found.run.run_id,
        "new": found.new,
        "metrics": dict(found.run.metrics),
        "seconds": round(time.monotonic() - start, 2),
    }


def _execute(cell: Cell, prepared: Prepared) -> StepRun:
    def check(key: str) -> None:
        if cell.key is not None and key != cell.key:
            raise SettingsError(
                f"the key of {cell.title} is {key[:12]} here and {cell.key[:12]} on the machine "
                "that started it; use the same version of the workbench, the same network and the "
                "same source images on both"
            )

    if cell.kind == TRIAL:
        return run_trial(cell, prepared, check)
    return run_step(prepared, SingleStep(cell.kind, cell.parent, cell.protocol, cell.seed), check)


def _check_machine(cell: Cell, prepared: Prepared) -> None:
    """Compare this machine's data and processor with those that the cell expects.

    Raises:
        SettingsError, DataError, WeightsError: with one line for the first difference.
    """
    ours = {name: asdict(prepared.call.processor).get(name) for name in cell.processor}
    if ours != dict(cell.processor):
        raise SettingsError(
            f"{cell.title}: this machine computes with {_words(ours)}, not with "
            f"{_words(cell.processor)} as the machine that started the cell; give --device, "
            "--precision and --cpus-per-cell that both have"
        )
    data = expected_data(prepared)
    for name, expected in cell.data.items():
        if data.get(name) == expected:
            continue
        if name == "weights":
            raise WeightsError(
                f"{cell.options.get('weights')}: is another file here than on the machine that "
                "started the cell; name one in a shared folder by --weights"
            )
        domain = prepared.call.task.domain
        raise DataError(
            f"the {name} images of {domain.name} ({domain.source}) are others here than on the "
            f"machine that started the cell; {_REMEDY}"
        )


def _words(processor: Mapping[str, Any]) -> str:
    threads = processor.get("threads")
    kind = f"{processor.get('device')} {processor.get('precision')}"
    return kind if threads is None else f"{kind}, {threads} thread{'' if threads == 1 else 's'}"
