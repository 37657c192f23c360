"""Read and check the JSON artifacts of runs, which may be damaged or written by others."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from workbench.compression.evidence.score_files import SCORES_FILE, read_scores
from workbench.compression.recipes.correlation_record import (
    CORRELATIONS_FILE,
    LayerCorrelation,
    read_correlations,
)
from workbench.compression.recipes.recipes import Recipe
from workbench.data.checked_values import listed, mapped, short_text
from workbench.data.whole_files import parse_json, read_json
from workbench.errors import DamagedRunError
from workbench.store.mlflow_store import Store
from workbench.store.runs import StoredRun
from workbench.store.unfinished_work import checked_correct
from workbench.training.predictions import PREDICTIONS_FILE, Predictions

RECIPE_FILE, SPECTRA_FILE = "recipe.json", "spectra.json"
RESULT_FILE = "result.json"
OPTIONS_FILE = "options.yaml"
RECIPE_INPUT_FILE = "recipe-file.json"  # content of --recipe-file, to which the options refer
HITS_FILE = "test_hits.json"  # which test images were classified correctly
VALIDATION_HITS_FILE = "validation_hits.json"  # the same for validation images
STAGE_FILE = "stage.json"  # how a stage made its file
LATENCIES_FILE = "latencies.json"
COMPENSATION_FILE = "compensation.json"  # what a compensation did
REPORT_FILE = "report.html"

_REMEDY = "run the same command again, which writes it again"
T = TypeVar("T")


def stored_recipe(store: Store, run: StoredRun) -> Recipe:
    """The recipe of an analysis.

    Raises:
        DamagedRunError: when the recipe or the spectra are missing or damaged.
    """
    spectra = read_artifact(store, run, SPECTRA_FILE, lambda content: content)
    return read_artifact(store, run, RECIPE_FILE, lambda rows: Recipe.from_plain(rows, spectra))


def stored_filters(store: Store, run: StoredRun) -> tuple[tuple[int, int], ...]:
    """(filters, kept) of each layer in the recipe of a training.

    Raises:
        DamagedRunError: when the recipe is missing or damaged.
    """
    return read_artifact(store, run, RECIPE_FILE, Recipe.counts)


def hits_json(correct: str, digest: str) -> str:
    """The content of ``HITS_FILE``.

    Args:
        correct: one character for each test image, as in ``unfinished_work.Outcome``.
        digest: fingerprint of the test images.
    """
    return json.dumps({"images": digest, "correct": correct})


def stored_hits(store: Store, run: StoredRun) -> tuple[str, NDArray[np.bool_]] | None:
    """Fingerprint of the test images of a run, and which of them were classified correctly.

    None for runs of earlier versions, and if the file is damaged: the paired test of two networks
    is then not possible.
    """
    name = HITS_FILE if run.split == "test" else VALIDATION_HITS_FILE
    try:
        return read_artifact(store, run, name, lambda saved: _hits(saved, run))
    except DamagedRunError:
        return None


def _hits(saved: object, run: StoredRun) -> tuple[str, NDArray[np.bool_]]:
    fields = mapped("it", saved)
    names = (f"{run.split}_{name}" for name in ("hits", "images"))
    hits, images = (round(run.metrics.get(name, -1)) for name in names)
    correct = checked_correct(fields.get("correct"), hits, images)
    return short_text("images", fields.get("images")), np.array([each == "1" for each in correct])


def stored_predictions(store: Store, run: StoredRun) -> Predictions | None:
    """The predictions of a run; None for runs of earlier versions, and if they do not fit it."""
    path = store.fetch(run, PREDICTIONS_FILE)
    if path is None:
        return None
    try:
        found = Predictions.read(path)
    except ValueError:
        return None
    counts = len(found.labels), int(found.correct.sum())
    try:
        recorded = tuple(round(run.evaluated(name)) for name in ("images", "hits"))
    except KeyError:
        return None
    return found if counts == recorded else None


def stored_correlations(store: Store, run: StoredRun) -> tuple[LayerCorrelation, ...]:
    """The layers' correlations; empty for runs of earlier versions, and if they are damaged."""
    path = store.fetch(run, CORRELATIONS_FILE)
    try:
        return read_correlations(path) if path else ()
    except ValueError:
        return ()


def stored_scores(store: Store, run: StoredRun) -> dict[str, NDArray[np.float64]]:
    """The scores of the filters that a training of gates has found, by filter group.

    Raises:
        DamagedRunError: when they are missing or damaged.
    """
    path = store.fetch(run, SCORES_FILE)
    try:
        if path is None:
            raise ValueError("it is missing")
        return read_scores(path)
    except ValueError as error:
        raise DamagedRunError(f"run {run.run_id}: {SCORES_FILE}: {error}; {_REMEDY}") from None


def has_scores(store: Store, run: StoredRun) -> bool:
    """Whether the scores of a training of gates can be read."""
    try:
        stored_scores(store, run)
    except DamagedRunError:
        return False
    return True


def is_described(store: Store, run: StoredRun) -> bool:
    """Whether a stage's run has undamaged lists of its operators and of its hits."""
    try:
        read_artifact(store, run, STAGE_FILE, _left_float)
    except DamagedRunError:
        return False
    return stored_hits(store, run) is not None


def stored_left_float(store: Store, run: StoredRun) -> tuple[str, ...]:
    """Operators of a stage's file that compute in float32; empty if that is not recorded."""
    try:
        return read_artifact(store, run, STAGE_FILE, _left_float)
    except DamagedRunError:
        return ()


def _left_float(saved: object) -> tuple[str, ...]:
    names = listed("left_float", mapped("it", saved).get("left_float"))
    return tuple(short_text("an operator", name) for name in names)


def read_artifact(store: Store, run: StoredRun, name: str, make: Callable[[Any], T]) -> T:
    """Read a JSON artifact and convert its content with ``make``.

    Args:
        make: raises ValueError for invalid content.

    Raises:
        DamagedRunError: when the artifact is missing, damaged or has invalid content.
    """
    path = store.fetch(run, name)
    if path is None:
        raise DamagedRunError(f"run '{run.run_id}': its {name} is missing; {_REMEDY}")
    try:
        return make(read_json(path))
    except ValueError as error:
        raise DamagedRunError(
            f"run '{run.run_id}': {path} is damaged ({error}); {_REMEDY}"
        ) from None


def has_options(store: Store, run: StoredRun, name: str, text: str) -> bool:
    """Whether a run has a complete option file: its last line is that of ``text``.

    The rest may differ: a training that another command reuses keeps the options it was made with.
    """
    path = store.fetch(run, name)
    try:
        return path is not None and path.read_bytes().splitlines()[-1:] == [
            text.encode().splitlines()[-1]
        ]
    except OSError:
        return False


def has_artifact(store: Store, run: StoredRun, name: str, text: str) -> bool:
    """Whether an artifact exists and holds the same data as this JSON text."""
    try:
        return bool(read_artifact(store, run, name, lambda content: content) == parse_json(text))
    except DamagedRunError:
        return False
