"""Conversions between MLflow's values and plain data."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from workbench.store.runs import StoredRun

_TAG_LIMIT = 7500  # MLflow silently truncates tags at 8,000 characters


def stored_run(run: Any) -> StoredRun:
    """A run as plain data.

    Args:
        run: a ``mlflow.entities.Run``.
    """
    return StoredRun(
        run_id=run.info.run_id,
        name=run.info.run_name or run.info.run_id,
        status=run.info.status,
        tags=dict(run.data.tags),
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        artifact_uri=run.info.artifact_uri,
        experiment=run.info.experiment_id,
        started=_day(run.info.start_time),
    )


def _day(milliseconds: int | None) -> str:
    """The day in UTC of a time since 1970; empty if it is unknown."""
    if milliseconds is None:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).date().isoformat()


def user_name() -> str:
    """Name of the user, as MLflow records it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run under a user id without a name
        return "unknown"


def cut_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags with values short enough for MLflow; the end of a longer value is marked."""
    return {
        name: value if len(value) <= _TAG_LIMIT else value[: _TAG_LIMIT - 4] + " ..."
        for name, value in tags.items()
    }
