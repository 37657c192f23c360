"""Conversions between MLflow's values and plain data."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from workbench.store.runs import Input, StoredRun

_DAY = 86_400_000  # milliseconds
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
        started=day_of(run.info.start_time),
    )


def day_of(milliseconds: int | None) -> str:
    """The day in UTC of a time since 1970; empty if it is unknown."""
    return "" if milliseconds is None else _day(milliseconds // _DAY)


@cache
def _day(days: int) -> str:
    """The day that begins so many days after the first one of 1970."""
    return datetime.fromtimestamp(days * _DAY // 1000, UTC).date().isoformat()


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


def points_of(values: Sequence[tuple[str, float, int]], model: str | None = None) -> list[Any]:
    """Metrics of a run, measured now.

    Args:
        values: name, value and step.
        model: id of the MLflow model that they describe as well.
    """
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(name, float(value), now, step, model_id=model) for name, value, step in values]


def params_of(params: Mapping[str, object]) -> list[Any]:
    """Parameters of a run."""
    from mlflow.entities import Param

    return [Param(name, str(value)) for name, value in params.items()]


def tags_of(tags: Mapping[str, str]) -> list[Any]:
    """Tags of a run."""
    from mlflow.entities import RunTag

    return [RunTag(name, value) for name, value in cut_tags(tags).items()]


def dataset_inputs(inputs: Sequence[Input]) -> list[Any]:
    """The data sets that a run uses."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return [
        DatasetInput(
            Dataset(
                name=item.name,
                digest=item.digest[:8],
                source_type="workbench",
                source=json.dumps({"source": item.source, "sha256": item.digest}),
                profile=json.dumps({"images": item.images, "classes": item.classes}),
            ),
            [InputTag("mlflow.data.context", item.context)],
        )
        for item in inputs
    ]
