"""``report``: one HTML file about a run, several runs, or the rows of a bench."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workbench.adaptation.results.run_report import (
    RecordedAdaptation,
    collect_report,
    images_of,
    recorded_adaptation,
)
from workbench.data.user_paths import check_new_file, user_path
from workbench.data.whole_files import write_text
from workbench.errors import DiskError, SettingsError, did_you_mean
from workbench.experiments.bench_report import bench_page
from workbench.experiments.network_search.search_page import search_page
from workbench.experiments.settings import RESULTS
from workbench.reporting.report.adaptation_page import adaptation_page
from workbench.reporting.report.comparison_page import comparison_page
from workbench.reporting.report.html import render
from workbench.reporting.report.page import Page
from workbench.store.mlflow_store import Store
from workbench.store.run_tags import ADAPTATION, KIND
from workbench.store.runs import StoredRun
from workbench.store.stored_results import REPORT_FILE
from workbench.store.tracking_uris import check_exists


def report(
    run: str | None = None,
    *,
    target: str | None = None,
    compare: Sequence[str] = (),
    bench: bool = False,
    results: Path | str = RESULTS,
    out: Path | str | None = None,
    data_dir: Path | None = None,
    tracking_uri: str | None = None,
) -> Path:
    """Write a report as one HTML file that opens offline.

    Args:
        run: id of the run of an adaptation or a search.
        target: the newest finished adaptation of this domain instead.
        compare: ids of at least two adaptations or searches, for one page about all of them.
        bench: report the rows of a bench instead.
        results: folder with the rows of the bench.
        out: file to write, ``report.html`` when None. An existing file is not overwritten.
        data_dir: folder of the data sets, for test images; the one that the run used when None.
        tracking_uri: the MLflow store; the default one when None.

    Returns:
        The file's path.

    Raises:
        WorkbenchError: for anything that the user can correct, such as an unknown run.
    """
    asked = [bool(run), bool(target), bool(compare), bench]
    if sum(asked) != 1:
        raise SettingsError(
            "name one thing to report: a RUN, --target NAME, --compare RUN RUN, or --bench"
        )
    if compare and len(set(compare)) < 2:
        raise SettingsError("--compare needs the ids of at least two different runs")
    path = check_new_file(user_path(out or REPORT_FILE), "--out", ".html")
    if bench:
        page = bench_page(user_path(results))
    else:
        check_exists(tracking_uri)
        store = Store(tracking_uri, writes=False)
        page = _of_store(store, run, target, compare, data_dir)
    try:
        write_text(path, render(page))
    except OSError as error:
        raise DiskError(f"--out {path}: cannot be written ({error.strerror})") from None
    return path


def _of_store(
    store: Store,
    run: str | None,
    target: str | None,
    compare: Sequence[str],
    data_dir: Path | None,
) -> Page:
    if compare:
        found = [_adaptation(store, store.run(each)) for each in dict.fromkeys(compare)]
        reports = [collect_report(store, each, None) for each in found]
        return comparison_page(list(zip(_names(found), reports, strict=True)))
    stored = store.run(run) if run else _newest(store, target or "")
    if stored.tags.get(KIND) == "shrink":
        return search_page(store, stored, data_dir)
    adaptation = recorded_adaptation(store, stored)
    images = images_of(adaptation, data_dir, store.uri)
    return adaptation_page(collect_report(store, adaptation, images))


def _names(found: Sequence[RecordedAdaptation]) -> list[str]:
    """A short name for each run: what differs between them, and its id if that is not enough."""
    parts = [each.title.split(" · ") for each in found]
    differing = [
        place for place, values in enumerate(zip(*parts, strict=False)) if len({*values}) > 1
    ]
    names = [" · ".join(own[place] for place in differing) for own in parts]
    return [
        name if name and names.count(name) == 1 else f"{name} {each.run.run_id[:8]}".strip()
        for name, each in zip(names, found, strict=True)
    ]


def _adaptation(store: Store, run: StoredRun) -> RecordedAdaptation:
    """An adaptation, or that of the network that a search chose."""
    searched = run.tags.get(KIND) == "shrink" and ADAPTATION in run.tags
    return recorded_adaptation(store, store.run(run.tags[ADAPTATION]) if searched else run)


def _newest(store: Store, target: str) -> StoredRun:
    """The newest finished adaptation of a target."""
    experiments = list(store.experiments().values())
    tags, params = {KIND: "adapt"}, {"domain": target}
    found = store.runs(experiments, tags, params=params, finished=True, limit=1)
    if not found:
        runs = store.runs(experiments, tags, finished=True)
        known = sorted({run.params["domain"] for run in runs if "domain" in run.params})
        raise SettingsError(
            f"--target {target}: store {store.shown} has no finished adaptation of it"
            f"{did_you_mean(target, known)}"
        )
    return found[0]
