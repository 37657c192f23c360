"""Compare all finished runs of a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from workbench.compression.recipes.recipe_settings import ONNX_INT8, RECIPE_OPTIONS, TORCH
from workbench.data.checked_values import number
from workbench.errors import DamagedRunError, SettingsError, StoreError
from workbench.reporting.charts import comparison_chart
from workbench.reporting.compared_results import ComparedResult, with_differences
from workbench.reporting.results import ProtocolResult
from workbench.reporting.run_selection import selection_of
from workbench.reporting.tables import method_label
from workbench.store.mlflow_store import Store
from workbench.store.run_tags import DROPPED, FILE, KEY, KIND, WEIGHTS
from workbench.store.runs import StoredRun
from workbench.store.stored_results import stored_filters
from workbench.store.tracking_uris import check_exists
from workbench.store.unfinished_work import WEIGHTS_FILE
from workbench.training.attack_names import attack_metrics
from workbench.training.plans import LATER_OPTIONS
from workbench.training.protocols import PROTOCOLS
from workbench.training.settings import GATE_OPTIONS

NEWEST = 5000  # runs that are read; more take seconds
#: Parameters of stages: the options that determine their files.
_STAGE_SETTINGS = (
    "int8_for", "calibration_images", "mixed_size", "qat_epochs",
    "mask_sparsity", "mask_epochs", "lottery_rounds", "binary", "binary_epochs",
    "kernel_granularity", "kernel_rate", "kernel_epochs",
    "exits", "exit_epochs", "exit_flops", "exit_tolerance",
)  # fmt: skip
#: Parameters in which all runs of one row agree; the runs differ only in their seeds.
_SETTINGS = (
    "source", "domain", "model", "epochs", "schedule", "learning_rate", "batch_size",
    "weight_decay", "head", "method", "energy", *RECIPE_OPTIONS, "protocol", "stage",
    *_STAGE_SETTINGS, "temperature",
    "distill_weight", "objective", "teacher", "generation", "device", "precision",
    "threads", "source_weights", "data", "validation", "repair_epochs", "recipe_file",
    *GATE_OPTIONS,
    *LATER_OPTIONS,
)  # fmt: skip


def compare(
    *,
    tracking_uri: str | None = None,
    source: str | None = None,
    target: str | None = None,
    where: Sequence[str] = (),
    sort: str | None = None,
    descending: bool = False,
    limit: int | None = None,
    newest: int = NEWEST,
    say: Callable[[str], None] = lambda warning: None,
) -> list[ComparedResult]:
    """Collect every finished protocol in the store, with the seeds of equal settings combined.

    Args:
        tracking_uri: the MLflow store; the default one when None.
        source, target: restrict the comparison to this source or domain.
        where, sort, descending, limit: which rows, and in which order; see ``run_selection``.
        newest: largest number of trainings that are read, and of stages, the newest first.
        say: called with one line for each damaged run, which is skipped, and with one line if
            there are more runs than ``newest``.

    Raises:
        SettingsError: for conditions or a column that are wrong, or ``newest`` below 1.
        StoreError: when there is no store, or no finished run in it that can be read.
    """
    selection = selection_of(where, sort, descending, limit)
    if newest < 1:
        raise SettingsError(f"--newest {newest}: must be at least 1")
    check_exists(tracking_uri)
    store = Store(tracking_uri, writes=False)
    experiments = store.experiments()
    chosen = [number for name, number in experiments.items() if source in (None, name)]
    wanted = [
        run
        for kind in ("protocol", "stage")
        for run in _newest(store, chosen, kind, target, newest, say)
    ]
    groups = _grouped(store, wanted, say)
    if not groups:
        what = f" for {target or source}" if target or source else ""
        whole = " that is not damaged" if wanted else ""
        raise StoreError(
            f"store {store.shown}: no finished run{what}{whole}; run 'workbench adapt' first"
        )
    found = with_differences([_merge(group) for group in groups])
    order = list(PROTOCOLS)
    rows = sorted(
        found,
        key=lambda row: (
            row.source, row.domain, row.model, row.training,
            order.index(row.result.protocol), row.method, row.label,
        ),
    )  # fmt: skip
    return selection.apply(rows)


def _newest(
    store: Store,
    experiments: Sequence[str],
    kind: str,
    target: str | None,
    newest: int,
    say: Callable[[str], None],
) -> list[StoredRun]:
    """The newest finished runs of a kind; says so if there are others."""
    params = {} if target is None else {"domain": target}
    runs = store.runs(experiments, {KIND: kind}, params=params, finished=True, limit=newest + 1)
    if len(runs) > newest:
        say(
            f"only the {newest:,} newest runs of kind '{kind}' are read, so rows of older ones may "
            "lack seeds; --newest N reads more, --source and --target read fewer"
        )
    return runs[:newest]


def draw_comparison(rows: Sequence[ComparedResult], path: Path) -> None:
    """Write both charts, accuracies and kept filters, to one PNG file.

    A source network that was not trained on the target is drawn beside every training of its
    domain and model. Stages are not drawn.
    """
    accuracies: dict[str, list[ProtocolResult]] = {}
    filters: dict[str, tuple[tuple[int, int], ...]] = {}
    rows = [row for row in rows if not row.result.stage]
    trained = [row for row in rows if PROTOCOLS[row.result.protocol].trained]
    subjects = {(row.domain, row.model) for row in trained}
    others = [row for row in rows if row not in trained]
    drawn = trained + [row for row in others if (row.domain, row.model) not in subjects]
    several = len({(row.model, row.training) for row in drawn}) > 1
    methods = {row.method for row in rows if row.filters}
    labels: dict[str, tuple[str, str]] = {}
    for row in drawn:
        label = f"{row.domain}\n{row.model}\n{row.training}" if several else row.domain
        labels[label] = (row.domain, row.model)
        accuracies.setdefault(label, []).append(row.result)
        if row.filters:
            method = f" · {row.method}" if len(methods) > 1 else ""
            filters.setdefault(label.replace("\n", " · ") + method, row.filters)
    for label, subject in labels.items():
        beside = [row.result for row in others if (row.domain, row.model) == subject]
        accuracies[label] += [result for result in beside if result not in accuracies[label]]
    comparison_chart(accuracies, filters, path)


@dataclass(frozen=True)
class _WholeRun:
    """A run with all the data that a comparison needs.

    Attributes:
        run: the run in the store.
        result: the result of this run alone.
        filters: (full, kept) of each layer in its recipe; empty for full networks.
    """

    run: StoredRun
    result: ProtocolResult
    filters: tuple[tuple[int, int], ...]


def _grouped(
    store: Store, runs: Sequence[StoredRun], say: Callable[[str], None]
) -> list[list[_WholeRun]]:
    """Groups of runs that differ only in their seeds; damaged runs are reported and skipped."""
    groups: dict[tuple[str, ...], dict[str, _WholeRun]] = {}
    for run in runs:
        try:
            whole_run = _read(store, run)
        except DamagedRunError as error:
            say(f"warning: {error}; this run is skipped")
            continue
        # Runs are listed newest first: if a training was done twice, the newer one is used.
        place = tuple(run.params.get(name, "") for name in _SETTINGS)
        size = f"{whole_run.result.parameters} {whole_run.result.images}"
        groups.setdefault((*place, size), {}).setdefault(run.tags[KEY], whole_run)
    return [
        sorted(group.values(), key=lambda one: int(one.run.params["seed"]))
        for group in groups.values()
    ]


def _read(store: Store, run: StoredRun) -> _WholeRun:
    """Read all the data of a run that a comparison needs.

    Raises:
        DamagedRunError: when a value is missing or invalid.
    """
    try:
        result = _result(run)
    except KeyError as error:
        raise DamagedRunError(f"run '{run.run_id}' has no {error.args[0]}") from None
    except ValueError as error:
        raise DamagedRunError(f"run '{run.run_id}': {error}") from None
    return _WholeRun(run, result, stored_filters(store, run) if result.compressed else ())


def _result(run: StoredRun) -> ProtocolResult:
    metrics, params = run.metrics, run.params
    for name in ("source", "domain", "model", "method", "schedule"):
        params[name]  # KeyError if it is missing
    for name in ("seed", "epochs", "learning_rate"):
        number(name, _parsed(name, params[name], float if name == "learning_rate" else int))
    if params["protocol"] not in PROTOCOLS:
        raise ValueError(f"there is no protocol '{params['protocol']}'")
    if KEY not in run.tags:
        raise KeyError(KEY)
    hits_name, images_name = f"{run.split}_hits", f"{run.split}_images"
    images = round(number(images_name, metrics[images_name], 1))
    latency, latency_64, file_bytes = (
        number(name, metrics[name]) if name in metrics else None
        for name in ("latency_ms", "latency_64_ms", "file_bytes")
    )
    return ProtocolResult(
        protocol=params["protocol"],
        hits=(round(number(hits_name, metrics[hits_name], 0, images)),),
        images=images,
        parameters=round(number("parameters", metrics["parameters"], 1)),
        footprint=number("footprint", metrics["footprint"]),
        flops=round(number("flops", metrics["flops"], 1)),
        flops_ratio=number("flops_ratio", metrics["flops_ratio"]),
        latency_ms=latency,
        latency_64_ms=latency_64,
        train_seconds=number("train_seconds", metrics["train_seconds"])
        + number("stage_seconds", metrics.get("stage_seconds", 0.0)),
        run_ids=(run.run_id,),
        weights=None,
        stage=params.get("stage", ""),
        runtime="" if latency is None else _runtime(run),
        file_bytes=None if file_bytes is None else round(file_bytes),
        attacks={
            name: (number(name, value, 0, 1),) for name, value in attack_metrics(metrics).items()
        },
    )


def _runtime(run: StoredRun) -> str:
    """Where a recorded latency was measured: those of float32 networks are from the analysis."""
    return ONNX_INT8 if run.tags.get(FILE, "").endswith(".onnx") else TORCH


def _parsed(name: str, text: str, kind: Callable[[str], float]) -> float:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} is '{text}', not a number") from None


def _training(run: StoredRun) -> str:
    """Epochs, schedule and learning rate of a run, for display."""
    epochs = run.params["epochs"]
    if epochs == "0":
        return "not trained"
    rate = float(run.params["learning_rate"])
    split = ", on validation images" if "validation" in run.params else ""
    length = f"{epochs} epoch{'' if epochs == '1' else 's'}"
    return f"{length}, {run.params['schedule']}, lr {rate:g}{split}"


def _merged_attacks(group: Sequence[_WholeRun]) -> dict[str, tuple[float, ...]]:
    names = dict.fromkeys(name for one in group for name in one.result.attacks)
    every = [one.result.attacks for one in group]
    return {name: tuple(v for each in every for v in each.get(name, ())) for name in names}


def _merge(group: Sequence[_WholeRun]) -> ComparedResult:
    """Combine the runs of all seeds to one result."""
    runs, first = [one.run for one in group], group[0].run
    kept = [run for run in runs if run.tags.get(WEIGHTS) != DROPPED]
    best = min(kept, key=lambda run: run.train_loss, default=None)
    return ComparedResult(
        source=first.params["source"],
        domain=first.params["domain"],
        model=first.params["model"],
        method=method_label(first.params),
        training=_training(first),
        result=replace(
            group[0].result,
            hits=tuple(hits for one in group for hits in one.result.hits),
            train_seconds=fmean(one.result.train_seconds for one in group),
            run_ids=tuple(run.run_id for run in runs),
            attacks=_merged_attacks(group),
            weights=best.artifact(best.tags.get(FILE, WEIGHTS_FILE)) if best else None,
        ),
        filters=group[0].filters,
        stage_options={
            name: first.params[name]
            for name in _STAGE_SETTINGS
            if "stage" in first.params and name in first.params
        },
    )
