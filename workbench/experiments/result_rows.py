"""Finished cells of an experiment as CSV rows, so that no machine repeats another's work.

A cell is one training of a domain, method and protocol with one seed. Its id depends on the
settings and not on the machine, so rows from other machines count. Its ``key`` is that of the
MLflow run. Files hold only names and numbers and are written atomically.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from filelock import FileLock

from workbench.adaptation.tasks.loaded_task import validation_parts
from workbench.adaptation.tasks.source_network import model_parts
from workbench.adaptation.tasks.task import Task
from workbench.data.checked_values import number, short_text, whole
from workbench.data.whole_files import written_whole
from workbench.errors import DataError, DiskError, SettingsError
from workbench.store.keys import key_of
from workbench.training.distillation_options import chosen_options
from workbench.training.protocols import PROTOCOLS
from workbench.training.settings import TrainingSettings


@dataclass(frozen=True)
class Cell:
    """One finished training.

    Attributes:
        cell: id of the cell, a hash of its settings.
        key: key of the MLflow run.
        source, domain, model, method, protocol, seed: what was trained.
        epochs, schedule, learning_rate, batch_size, weight_decay: plan of the training.
        head: initialisation of the classifier; empty for protocols that always use a new one.
        temperature, distill_weight: settings of distillation; empty for other protocols.
        weights: first digits of the source weights' fingerprint.
        hits, images: correctly classified test images, and all test images.
        top_hits: test images whose class is among the first five; None if not recorded.
        parameters, footprint, flops, flops_ratio, latency_ms: costs of the network.
        filters: number of filters kept in each layer; empty for the full network.
        train_seconds: time of the epochs, in seconds.
        device, precision, threads, machine, torch, version, commit, python: hardware and software.
        date: day on which the training started, in UTC; it and ``python`` are empty in the rows of
            earlier versions.
        run_id: id of the run in the store of that machine.
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
    batch_size: int
    weight_decay: float
    head: str
    temperature: str
    distill_weight: str
    weights: str
    hits: int
    top_hits: int | None
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
    commit: str
    run_id: str
    python: str = ""
    date: str = ""

    def __post_init__(self) -> None:
        _check_values(vars(self))


CELLS_FILE = "cells.csv"
_LATER = ("python", "date")  # columns that files of earlier versions do not have
_WHOLE_NETWORK = 1.0001  # largest share of the full network; shares are rounded
_TYPES: dict[str, Callable[[str], Any]] = {
    "int": int,
    "int | None": lambda text: int(text) if text else None,
    "float": float,
    "str": str,
}


def cell_ids(
    task: Task, protocols: Iterable[str], seeds: Iterable[int], weights: str
) -> dict[tuple[str, int], str]:
    """Compute the ids of cells: 16 hexadecimal digits of a hash of all their settings.

    Args:
        task: the adaptation.
        protocols, seeds: the trainings.
        weights: text that identifies the source weights.

    Returns:
        The id of each protocol and seed, protocol by protocol.
    """
    own, numbers = _own_parts(task), list(seeds)
    return {
        (protocol, seed): _cell_id(task, protocol, seed, weights, own)
        for protocol in protocols
        for seed in numbers
    }


def _cell_id(task: Task, protocol: str, seed: int, weights: str, own: Mapping[str, Any]) -> str:
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
        **validation_parts(task),
        **own,
    }
    settings = task.settings
    if kind.inherited or kind.compressed:
        parts["weights"] = weights
    if kind.inherited:
        parts["head"] = settings.training.head
    if kind.compressed:
        parts |= {
            "method": settings.recipe.method,
            "energy": task.energy,
            **task.network_parts(inherited=kind.inherited),
        }
    if kind.compressed and task.gates:
        parts |= settings.training.gate_options
    if kind.distilled:
        parts |= {
            "temperature": settings.training.temperature,
            "weight": settings.training.distill_weight,
            **chosen_options(settings.training),
        }
    if kind.inherited and kind.compressed and settings.training.repair_epochs:
        parts["repair_epochs"] = settings.training.repair_epochs
    return key_of("cell", parts)[:16]


def _own_parts(task: Task) -> dict[str, Any]:
    """Further settings of a cell's id: files of a folder, the user's network, the precision."""
    parts = {k: v for k, v in model_parts(task.model, task.source).items() if k == "definition"}
    if task.settings.training.precision != TrainingSettings.precision:
        parts["precision"] = task.settings.training.precision
    if task.domain.folder:
        parts["files"] = task.domain.folder.digest()
    return parts


def check_results(folder: Path) -> None:
    """Check that rows and pages can be written; nothing is created yet.

    Raises:
        SettingsError: when they cannot be written.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    data, rows = folder / "data", folder / "data" / CELLS_FILE
    if data.exists() and not data.is_dir():
        raise SettingsError(f"--results {folder}: {data} is not a folder; move it or name another")
    if rows.is_dir():
        raise SettingsError(f"--results {folder}: {rows} is a folder; move it or name another")
    for path in (there, data, rows):
        if os.path.exists(path) and not os.access(path, os.W_OK):
            raise SettingsError(f"--results {folder}: {path} cannot be written; name another")
    if not os.path.isdir(there):
        raise SettingsError(f"--results {folder}: {there} is not a folder; name another")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn errors in writing a page or figure into a DiskError of one line."""
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        where = getattr(error, "filename", None) or folder
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise DiskError(f"{where}: {why}; the rows are safe in {folder / 'data'}") from None


def read_cells(path: Path) -> dict[str, Cell]:
    """Read the cells of a file by their ids; empty when there is no such file.

    Raises:
        DataError: when the file does not hold valid cells; the message gives the line.
    """
    if not path.is_file():
        return {}
    found: dict[str, Cell] = {}
    number = 1
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns = {*(reader.fieldnames or ()), *_LATER}
            lacking = [f.name for f in _FIELDS if f.name not in columns]
            if lacking:
                raise DataError(
                    f"{path}:1: no column {', '.join(lacking)}; move the file away, and its cells "
                    "are written again from the store's runs"
                )
            missing = {name: "" for name in _LATER if name not in (reader.fieldnames or ())}
            for row in reader:
                number += 1
                cell = _cell({**row, **missing})
                found[cell.cell] = cell
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(
            f"{path}:{max(number, 2)}: not a valid cell ({error}); correct or remove the line"
        ) from None
    return found


def _cell(row: dict[str, str]) -> Cell:
    short = [f.name for f in _FIELDS if row[f.name] is None]
    if short:
        raise ValueError(f"it ends before {short[0]}")
    values: dict[str, Any] = {f.name: _TYPES[str(f.type)](row[f.name]) for f in _FIELDS}
    return Cell(**values)


def _check_values(values: Mapping[str, Any]) -> None:
    """Raise ValueError for values out of range: rows may come from anywhere."""
    if values["protocol"] not in PROTOCOLS:
        raise ValueError(f"there is no protocol '{values['protocol']}'")
    for name, value in values.items():
        if isinstance(value, (int, float)):
            number(name, value)
        elif value is not None:
            short_text(name, value) if name != "filters" else _check_filters(value)
    images = whole("images", values["images"], 1)
    hits = whole("hits", values["hits"], 0, images)
    if values["top_hits"] is not None:
        whole("top_hits", values["top_hits"], hits, images)
    for name in ("footprint", "flops_ratio"):
        if not number(name, values[name], 0, _WHOLE_NETWORK) > 0:
            raise ValueError(f"{name} is 0")


def _check_filters(text: str) -> None:
    if not all(count.isdecimal() and len(count) < 10 and int(count) for count in text.split()):
        raise ValueError(f"filters are '{text[:40]}', not whole numbers with spaces between them")


def write_cells(path: Path, cells: Iterable[Cell]) -> None:
    """Add cells to a file and replace those with the same ids; safe with concurrent writers.

    Raises:
        DiskError: when the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            every = read_cells(path) | {cell.cell: cell for cell in cells}
            with (
                written_whole(path) as part,
                part.open("w", newline="", encoding="utf-8") as file,
            ):
                writer = csv.DictWriter(file, [field.name for field in _FIELDS])
                writer.writeheader()
                writer.writerows(asdict(cell) for cell in sorted(every.values(), key=_order))
    except OSError as error:
        raise DiskError(
            f"{path}: cannot be written ({error.strerror}); name another folder by --results"
        ) from None


_FIELDS = fields(Cell)


def _order(cell: Cell) -> tuple[Any, ...]:
    protocols = list(PROTOCOLS)
    place = protocols.index(cell.protocol) if cell.protocol in protocols else len(protocols)
    return (cell.source, cell.model, cell.domain, cell.method, place, cell.seed, cell.cell)
