"""Whether a recorded run still holds its whole result, so that it can be reused."""

from __future__ import annotations

from pathlib import Path

from workbench.errors import DamagedRunError
from workbench.store.keys import file_hash
from workbench.store.mlflow_store import Store
from workbench.store.run_tags import DROPPED, EVALUATED, FILE, HASH, KIND, WEIGHTS, WHOLE
from workbench.store.runs import StoredRun
from workbench.store.stored_results import has_scores, is_described, stored_recipe
from workbench.store.unfinished_work import WEIGHTS_FILE


def is_whole(store: Store, run: StoredRun) -> bool:
    """Whether a finished run has the metrics and the undamaged files of its kind.

    Weights that were dropped on purpose are not missing.
    """
    kind = run.tags.get(KIND, "")
    metrics, file = WHOLE.get(kind, (EVALUATED, WEIGHTS_FILE))
    if not {name.replace("test_", f"{run.split}_") for name in metrics} <= run.metrics.keys():
        return False
    if run.tags.get(WEIGHTS) == DROPPED:
        return True
    path = store.fetch(run, run.tags.get(FILE, file) or WEIGHTS_FILE)
    if path is None or not is_as_recorded(run, path):
        return False
    if kind == "stage" and not is_described(store, run):
        return False
    if kind == "gates" and not has_scores(store, run):
        return False
    return kind != "analysis" or _has_recipe(store, run)


def is_as_recorded(run: StoredRun, path: Path) -> bool:
    """Whether a run's file still has its recorded hash."""
    return file_hash(path) == run.tags.get(HASH)


def _has_recipe(store: Store, run: StoredRun) -> bool:
    """Whether the recipe and its spectra can be read; the spectra have no hash."""
    try:
        stored_recipe(store, run)
    except DamagedRunError:
        return False
    return True
