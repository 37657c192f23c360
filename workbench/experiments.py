"""Run what an experiment still lacks, and hand on all of its cells.

An experiment is a list of parts; a part is one adaptation's options and the protocols that are
wanted of it. Every cell goes through ``pipeline.adapt``, so it is recorded in MLflow, resumes, and
is not trained twice; a row in the results folder does as well as a run in the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.cells import Cell, cell_id, read_cells, write_cells
from workbench.compression.recipes import Recipe
from workbench.display import Display
from workbench.pipeline import adapt
from workbench.planning import Task, resolve
from workbench.protocols import PROTOCOLS
from workbench.recording import KEY, RECIPE_FILE
from workbench.report import method_label
from workbench.settings import Settings
from workbench.subject import given_weights
from workbench.tracking import Store, StoredRun

CELLS_FILE = "cells.csv"


@dataclass(frozen=True)
class Part:
    """One adaptation's share of an experiment.

    Attributes:
        options: of ``adapt``, seeds and protocols left out.
        protocols: which of its cells are wanted.
        seeds: with which seeds.
    """

    options: Mapping[str, Any]
    protocols: tuple[str, ...]
    seeds: range


@dataclass(frozen=True)
class Wish:
    """One cell that is wanted.

    Attributes:
        part: where it comes from.
        cell: its id.
    """

    part: Part
    protocol: str
    seed: int
    cell: str


def run_parts(
    parts: Sequence[Part],
    results: Path,
    *,
    fresh: bool = False,
    display: Display | None = None,
    common: Mapping[str, Any] | None = None,
) -> None:
    """Train what an experiment lacks, and write its cells down as they are finished.

    Args:
        parts: the experiment; every part's options are checked before anything is trained.
        results: folder whose ``data/cells.csv`` is read and written.
        fresh: train everything again.
        common: options of ``adapt`` that every part has: where things are, and how to compute.

    Raises:
        WorkbenchError: for anything that the user can mend; see ``errors``.
    """
    display, common = display or Display(), dict(common or {})
    path = results / "data" / CELLS_FILE
    wishes = _wishes(parts, common)
    known = {} if fresh else read_cells(path)
    for part, seed, names in _missing(wishes, known):
        done = adapt(
            display=display,
            **part.options,
            **common,
            protocols=names,
            seeds=1,
            first_seed=seed,
            fresh=fresh,
        )
        store = Store(common.get("tracking_uri"))
        ids = {(wish.protocol, wish.seed): wish.cell for wish in wishes if wish.part is part}
        cells = [
            make_cell(store, store.run(result.run_ids[0]), ids[result.protocol, seed])
            for result in done.protocols
        ]
        write_cells(path, cells)


def known_cells(
    parts: Sequence[Part], results: Path, common: Mapping[str, Any] | None = None
) -> list[tuple[Wish, Cell]]:
    """The wishes that are fulfilled, whoever trained them, in the order of the parts."""
    known = read_cells(results / "data" / CELLS_FILE)
    wishes = _wishes(parts, dict(common or {}))
    return [(wish, known[wish.cell]) for wish in wishes if wish.cell in known]


def make_cell(store: Store, run: StoredRun, cell: str) -> Cell:
    """The row of a finished training."""
    params, metrics = run.params, run.metrics
    recipe = store.fetch(run, RECIPE_FILE) if PROTOCOLS[params["protocol"]].compressed else None
    kept = Recipe.counts(recipe.read_text()) if recipe else ()
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
        weights=params.get("source_weights", ""),
        hits=round(metrics["test_hits"]),
        top_hits=round(metrics.get("test_top5_hits", metrics["test_hits"])),
        images=round(metrics["test_images"]),
        parameters=round(metrics["parameters"]),
        footprint=metrics["footprint"],
        flops=round(metrics["flops"]),
        flops_ratio=metrics["flops_ratio"],
        latency_ms=metrics["latency_ms"],
        filters=" ".join(str(count) for _, count in kept),
        train_seconds=round(metrics["train_seconds"], 1),
        device=params["device"],
        precision=params["precision"],
        threads=int(params["threads"]),
        machine=run.tags.get("workbench.machine", ""),
        torch=params["torch"],
        version=run.tags.get("workbench.version", ""),
        run_id=run.run_id,
    )


def _wishes(parts: Sequence[Part], common: Mapping[str, Any]) -> list[Wish]:
    """Every cell with its id; all settings are checked on the way."""
    fingerprints: dict[tuple[str, str], str] = {}
    found = []
    for part in parts:
        task = resolve(Settings.of(**part.options, **common))
        weights = _source_weights(task, fingerprints)
        found += [
            Wish(part, protocol, seed, cell_id(task, protocol, seed, weights))
            for protocol in part.protocols
            for seed in part.seeds
        ]
    return found


def _source_weights(task: Task, known: dict[tuple[str, str], str]) -> str:
    """What tells the source weights from others: their fingerprint, or how they are trained."""
    if task.settings.weights is None:
        return f"trained here: {task.source_plan.parts()}"
    place = (str(task.settings.weights), task.model)
    if place not in known:
        given = given_weights(task)
        known[place] = given.fingerprint if given else ""
    return known[place]


def _missing(
    wishes: Iterable[Wish], known: Mapping[str, Cell]
) -> Iterable[tuple[Part, int, tuple[str, ...]]]:
    """Part, seed and the protocols that lack: one call of ``adapt`` each."""
    groups: dict[tuple[int, int], list[Wish]] = {}
    for wish in wishes:
        if wish.cell not in known:
            groups.setdefault((id(wish.part), wish.seed), []).append(wish)
    for group in groups.values():
        yield group[0].part, group[0].seed, tuple(wish.protocol for wish in group)
