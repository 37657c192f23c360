"""Finished cells of an experiment, one CSV row each, so that no machine repeats another's work.

A cell is one training with one seed: a domain, a method, a protocol. Its id says what was asked for
(the settings), not where it was done, so a row from another machine counts; its ``key`` is that of
the MLflow run. Files hold names and numbers only and are written whole or not at all.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from filelock import FileLock

from workbench.errors import DataError, DiskError
from workbench.keys import key_of
from workbench.planning import Task
from workbench.protocols import PROTOCOLS


@dataclass(frozen=True)
class Cell:
    """One finished training.

    Attributes:
        cell: what was asked for, hashed.
        key: of the MLflow run.
        source, domain, model, method, protocol, seed: what was trained.
        epochs, schedule, learning_rate: of the training.
        weights: first digits of the source weights' fingerprint.
        hits, top_hits, images: test images named at once, within five guesses, and all.
        parameters, footprint, flops, flops_ratio, latency_ms: of the network.
        filters: kept in each layer; empty for the full network.
        train_seconds: of the epochs.
        device, precision, threads, machine, torch, version: where and with what.
        run_id: in the store of that machine.
    """

    cell: str
    key: str
    source: str
    domain: str
    model: str
    method: str
    protocol: str
    seed: int
    epochs: int
    schedule: str
    learning_rate: float
    weights: str
    hits: int
    top_hits: int
    images: int
    parameters: int
    footprint: float
    flops: int
    flops_ratio: float
    latency_ms: float
    filters: str
    train_seconds: float
    device: str
    precision: str
    threads: int
    machine: str
    torch: str
    version: str
    run_id: str


_TYPES = {"int": int, "float": float, "str": str}


def cell_id(task: Task, protocol: str, seed: int, weights: str) -> str:
    """What a cell is recognised by: 16 hexadecimal digits over everything that was asked for.

    Args:
        weights: of the source, whatever tells one from another.
    """
    kind = PROTOCOLS[protocol]
    plan = task.fine_plan if kind.inherited else task.plan
    parts: dict[str, Any] = {
        "source": task.source.name,
        "domain": task.domain.name,
        "images": task.domain.source,
        "classes": list(task.domain.classes),
        "shape": list(task.source.shape),
        "model": task.model,
        "protocol": protocol,
        "seed": seed,
        "plan": plan.parts(),
    }
    settings = task.settings
    if kind.inherited or kind.compressed:
        parts["weights"] = weights
    if kind.inherited:
        parts["head"] = settings.head
    if kind.compressed:
        parts |= {"method": settings.method, "energy": task.energy, **settings.chosen_recipe()}
    if kind.distilled:
        parts |= {"temperature": settings.temperature, "weight": settings.distill_weight}
    return key_of("cell", parts)[:16]


def read_cells(path: Path) -> dict[str, Cell]:
    """The cells of a file by their ids; none when there is no such file.

    Raises:
        DataError: when the file is not one of cells; it names the line.
    """
    if not path.is_file():
        return {}
    found = {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        for number, row in enumerate(rows, start=2):
            try:
                values = {field.name: _TYPES[str(field.type)](row[field.name]) for field in _FIELDS}
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(
                    f"{path}:{number}: no row of cells ({error}); mend or remove the line"
                ) from None
            found[str(values["cell"])] = Cell(**values)
    return found


def write_cells(path: Path, cells: Iterable[Cell]) -> None:
    """Put cells into a file, in place of those with the same ids; other processes may write, too.

    Raises:
        DiskError: when the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            every = read_cells(path) | {cell.cell: cell for cell in cells}
            part = path.with_name(f".{path.name}.part")
            with part.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, [field.name for field in _FIELDS])
                writer.writeheader()
                writer.writerows(asdict(cell) for cell in sorted(every.values(), key=_order))
            os.replace(part, path)
    except OSError as error:
        raise DiskError(
            f"{path}: cannot be written ({error.strerror}); name another folder by --results"
        ) from None


_FIELDS = fields(Cell)


def _order(cell: Cell) -> tuple[Any, ...]:
    protocols = list(PROTOCOLS)
    place = protocols.index(cell.protocol) if cell.protocol in protocols else len(protocols)
    return (cell.source, cell.model, cell.domain, cell.method, place, cell.seed, cell.cell)
