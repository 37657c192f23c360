"""Read runs through MLflow's search: from servers and other databases than SQLite."""

from __future__ import annotations

from typing import Any

from workbench.store.mlflow_values import stored_run
from workbench.store.runs import FINISHED, StoredRun, Wanted

_PAGE = 1000  # runs in one request


def search(client: Any, wanted: Wanted) -> list[StoredRun]:
    """The wanted runs, newest first, with no more requests than their number needs.

    Args:
        client: a ``mlflow.MlflowClient``.
    """
    found: list[StoredRun] = []
    token = None
    while True:
        rest = _PAGE if wanted.limit is None else min(_PAGE, wanted.limit - len(found))
        if rest <= 0:
            return found
        page = client.search_runs(
            list(wanted.experiments),
            _query(wanted),
            max_results=rest,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        found += [
            run for run in map(stored_run, page) if wanted.params.items() <= run.params.items()
        ]
        token = page.token
        if not token:
            return found


def _query(wanted: Wanted) -> str:
    """The search in MLflow's language. It has no escape for a quote; such values are left out."""
    terms = [f"tags.`{name}` = '{value}'" for name, value in wanted.tags.items()]
    terms += [
        f"params.`{name}` = '{value}'" for name, value in wanted.params.items() if "'" not in value
    ]
    terms += [f"attributes.status = '{FINISHED}'"] if wanted.finished else []
    return " and ".join(terms)
