"""How the MLflow UI shows an experiment: its kind, and two views with the columns that matter.

MLflow keeps a saved view as a tag of the experiment. Its value is JSON with a name, two times and
the state of the page, as JSON text. A link opens the view by the tag's key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_KIND_TAG, _KIND = "mlflow.experimentKind", "custom_model_development"
_VIEW_TAG = "mlflow.sharedViewState."
#: Milliseconds since 1970; raise it when the view changes. A view that the user has changed in the
#: UI was updated later than it was created, and is left as it is.
_WRITTEN = 1_795_000_000_000
_COSTS = ("metrics.`test_accuracy`", "metrics.`footprint`", "metrics.`flops_ratio`")
_NARROW = 105  # pixels; the columns and the names fit a window of 1440 pixels


@dataclass(frozen=True)
class View:
    """A saved view.

    Attributes:
        key, name: in its address, and in the UI's list of views.
        columns: MLflow's names of the columns.
        order: the column by which runs are sorted, the greatest first.
        runs: filter of the runs; empty for all.
        by_domain: whether runs are grouped by their domain.
    """

    key: str
    name: str
    columns: tuple[str, ...]
    order: str
    runs: str = ""
    by_domain: bool = False

    @property
    def tag(self) -> str:
        """Name of the experiment's tag that holds the view."""
        return f"{_VIEW_TAG}{self.key}"


ADAPTATIONS = View(
    "workbench-adaptations",
    "Adaptations",
    ("params.`domain`", "params.`method`", "tags.`recommended`", *_COSTS, "metrics.`latency_ms`",
     "attributes.`Duration`"),
    "attributes.start_time",
    "tags.`workbench.kind` = 'adapt'",
)  # fmt: skip
NETWORKS = View(
    "workbench-networks",
    "Networks",
    ("params.`domain`", "params.`protocol`", *_COSTS, "metrics.`latency_ms`", "params.`seed`",
     "attributes.`Duration`"),
    "metrics.`test_accuracy`",
    by_domain=True,
)  # fmt: skip
VIEWS = (ADAPTATIONS, NETWORKS)


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
    for view in VIEWS:
        value, there = _value(view), present.get(view.tag)
        if there != value and _is_ours(there):
            tags[view.tag] = value
    return tags


def view_paths(experiment: str) -> dict[str, str]:
    """The pages of an experiment's views, relative to the address of the MLflow UI, by title.

    Args:
        experiment: its id.
    """
    charts = f"{_page(experiment, NETWORKS)}&compareRunsMode=CHART"
    return {view.name.lower(): _page(experiment, view) for view in VIEWS} | {"charts": charts}


def _page(experiment: str, view: View) -> str:
    mode = "workflowType=machine_learning"
    return f"#/experiments/{experiment}/runs?{mode}&viewStateShareKey={view.key}"


def _is_ours(value: str | None) -> bool:
    """Whether a saved view may be replaced: there is none, or it is as we wrote it."""
    if value is None:
        return True
    try:
        saved = json.loads(value)
        return bool(saved["createdAt"] == saved["updatedAt"])
    except (ValueError, TypeError, LookupError):
        return True  # the UI cannot open it either


def _value(view: View) -> str:
    """The value of a view's tag."""
    times = {"createdAt": _WRITTEN, "updatedAt": _WRITTEN}
    return json.dumps({"name": view.name, **times, "state": json.dumps(_state(view))})


def _state(view: View) -> dict[str, Any]:
    """The state of the page."""
    by_domain = {"mode": "param", "groupByData": "domain"}
    return {
        "searchFilter": view.runs,
        "orderByKey": view.order,
        "orderByAsc": False,
        "selectedColumns": list(view.columns),
        "columnWidths": dict.fromkeys(view.columns, _NARROW),
        "groupBy": (
            {"aggregateFunction": "max", "groupByKeys": [by_domain]} if view.by_domain else None
        ),
        "useGroupedValuesInCharts": False,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunSections": [
            _section(_SECTION, "Networks", open_=True),
            _section("workbench-others", "Model metrics", open_=False),
        ],
        "compareRunCharts": [
            _scatter("flops_ratio"),
            _scatter("latency_ms"),
            *map(_chart, _CHARTS),
        ],
        "isAccordionReordered": True,
    }


_SECTION = "workbench-networks"
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
