"""How the MLflow UI shows an experiment: its kind, and a view with the columns that matter.

MLflow keeps a saved view as a tag of the experiment. Its value is JSON with a name, two times and
the state of the page, as JSON text. A link opens the view by the tag's key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_KIND_TAG, _KIND = "mlflow.experimentKind", "custom_model_development"
_VIEW, _VIEW_NAME = "workbench", "Networks"
VIEW_TAG = f"mlflow.sharedViewState.{_VIEW}"
#: Milliseconds since 1970; raise it when the view changes. A view that the user has changed in the
#: UI was updated later than it was created, and is left as it is.
_WRITTEN = 1_795_000_000_000
COLUMNS = (
    "params.`domain`", "params.`protocol`", "metrics.`test_accuracy`", "metrics.`footprint`",
    "metrics.`flops_ratio`", "metrics.`latency_ms`", "params.`seed`", "attributes.`Duration`",
)  # fmt: skip
_NARROW = 105  # pixels; ten of them and the names fit a window of 1440 pixels
_SECTION, _OTHERS = "networks", "other-metrics"


def show(client: Any, experiment: Any) -> None:
    """Write the tags that make the UI show an experiment as one of trained networks.

    Args:
        client: a ``mlflow.MlflowClient``.
        experiment: a ``mlflow.entities.Experiment``.
    """
    for name, value in missing_tags(experiment.tags).items():
        client.set_experiment_tag(experiment.experiment_id, name, value)


def missing_tags(present: Mapping[str, str]) -> dict[str, str]:
    """Tags that an experiment lacks, or has from an earlier version, by name.

    What the user has chosen in the UI stays: another kind, or a changed view.
    """
    tags = {} if _KIND_TAG in present else {_KIND_TAG: _KIND}
    if present.get(VIEW_TAG) != (view := _view()) and _is_ours(present.get(VIEW_TAG)):
        tags[VIEW_TAG] = view
    return tags


def view_path(experiment: str, *, charts: bool = False) -> str:
    """The page of an experiment's view, relative to the address of the MLflow UI.

    Args:
        experiment: its id.
        charts: the view's charts instead of its table.
    """
    mode = "&compareRunsMode=CHART" if charts else ""
    key = f"viewStateShareKey={_VIEW}"
    return f"#/experiments/{experiment}/runs?{key}{mode}&workflowType=machine_learning"


def _is_ours(value: str | None) -> bool:
    """Whether a saved view may be replaced: there is none, or it is as we wrote it."""
    if value is None:
        return True
    try:
        saved = json.loads(value)
        return bool(saved["createdAt"] == saved["updatedAt"])
    except (ValueError, TypeError, LookupError):
        return True  # the UI cannot open it either


def _view() -> str:
    """The value of the view's tag."""
    return json.dumps(
        {
            "name": _VIEW_NAME,
            "createdAt": _WRITTEN,
            "updatedAt": _WRITTEN,
            "state": json.dumps(_state()),
        }
    )


def _state() -> dict[str, Any]:
    """The page's state: the networks of each domain, the most accurate first."""
    return {
        "searchFilter": "",
        "orderByKey": "metrics.`test_accuracy`",
        "orderByAsc": False,
        "selectedColumns": list(COLUMNS),
        "columnWidths": dict.fromkeys(COLUMNS, _NARROW),
        "groupBy": {
            "aggregateFunction": "max",
            "groupByKeys": [{"mode": "param", "groupByData": "domain"}],
        },
        "useGroupedValuesInCharts": False,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunSections": [
            _section(_SECTION, "Networks", open_=True),
            _section(_OTHERS, "Model metrics", open_=False),
        ],
        "compareRunCharts": [
            _scatter("flops_ratio"),
            _scatter("latency_ms"),
            *map(_chart, _CHARTS),
        ],
        "isAccordionReordered": True,
    }


#: Metric and kind of the other charts.
_CHARTS = (("test_accuracy", "BAR"), ("train_loss", "LINE"))


def _section(number: str, name: str, *, open_: bool) -> dict[str, Any]:
    fixed = {"isReordered": True, "deleted": False, "isGenerated": False}
    return {"uuid": number, "name": name, "display": open_, **fixed}


def _chart(metric_and_kind: tuple[str, str]) -> dict[str, Any]:
    metric, kind = metric_and_kind
    return {**_card(metric, kind), "metricKey": metric}


def _scatter(cost: str) -> dict[str, Any]:
    """Accuracy against a cost."""
    axes = {"xaxis": cost, "yaxis": "test_accuracy"}
    named = {axis: {"key": metric, "type": "METRIC"} for axis, metric in axes.items()}
    return {**_card(f"test_accuracy against {cost}", "SCATTER"), **named}


def _card(title: str, kind: str) -> dict[str, Any]:
    return {
        "uuid": f"workbench {title}",
        "type": kind,
        "displayName": title,
        "runsCountToCompare": 100,
        "metricSectionId": _SECTION,
        "deleted": False,
        "isGenerated": False,
    }
