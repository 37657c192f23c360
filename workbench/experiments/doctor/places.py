"""The data sets, the store and the folder of unfinished work."""

from __future__ import annotations

from pathlib import Path

from workbench.data.data_folder import data_folder, is_present
from workbench.experiments.doctor.lines import Line


def data_sets(data_dir: Path | None) -> list[Line]:
    """Which data sets are on this machine."""
    from workbench.data.catalog import SOURCES

    folder = data_folder(data_dir)
    here = [name for name in SOURCES if is_present(name, folder)]
    lines = [Line("ok", "data", f"{', '.join(here)} present (folder {folder})")] if here else []
    absent = [name for name in SOURCES if name not in here]
    if absent:
        text = f"{', '.join(absent)} absent; downloaded into {folder} when needed, or --data-dir"
        lines.append(Line("note", "data", text))
    return lines


def store(tracking_uri: str | None) -> list[Line]:
    """Whether the store can be reached, written and shared; none is created or upgraded."""
    from workbench.store.shared_stores import network_warning
    from workbench.store.store_state import store_state

    found, warning = store_state(tracking_uri), network_warning(tracking_uri)
    lines = [Line("ok" if found.ready else "note", "store", found.text)]
    return [*lines, Line("note", "store", warning)] if warning else lines


def work_folder(output: Path | None, tracking_uri: str | None) -> list[Line]:
    """Whether the folder of unfinished work can be written."""
    from workbench.store.unfinished_work import open_work

    work = open_work(output, tracking_uri)
    work.check()
    exists = "can be written" if work.folder.is_dir() else "does not exist yet, can be created"
    return [Line("ok", "work", f"{work.folder}: {exists}")]
