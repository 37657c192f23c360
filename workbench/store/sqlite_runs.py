"""Read runs from the SQLite file of a store.

MLflow's own search builds objects for every value of a run, and its inputs and models: 1,000 runs
take seconds, and each further page sorts all runs again. This module reads plain rows; it only
reads, and gives the same runs. ``server_runs`` is for other
stores.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from workbench.store.mlflow_values import day_of
from workbench.store.runs import FINISHED, StoredRun, Wanted
from workbench.store.tag_index import CREATE_TAG_INDEX, INDEXED, TAG_INDEX

_PATIENCE = 20.0  # seconds that another program may hold the database
_COLUMNS = "run_uuid, name, status, artifact_uri, experiment_id, start_time"
#: Tables with the values of runs, and how a value is read.
_VALUES = {
    "tags": "v.value",
    "params": "v.value",
    "latest_metrics": "CASE v.is_nan WHEN 1 THEN 'nan' ELSE v.value END",
}


def add_index(path: Path) -> None:
    """Add the index by key and kind to a store's database, if it has none."""
    with closing(sqlite3.connect(path, timeout=_PATIENCE)) as database:
        query = "SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ?"
        if not database.execute(query, (TAG_INDEX,)).fetchone():
            with database:
                database.execute(CREATE_TAG_INDEX)


def read_runs(path: Path, wanted: Wanted) -> list[StoredRun]:
    """The wanted runs with all their tags, parameters and last metrics, newest first."""
    with _opened(path) as database:
        rows = _choose(database, wanted)
        values = {table: _values(database, table) for table in _VALUES}
    return [
        _run(row, values["tags"].get(row[0], {}), values["params"].get(row[0], {}),
             {name: float(number) for name, number in
              values["latest_metrics"].get(row[0], {}).items()})
        for row in rows
    ]  # fmt: skip


def read_tags(path: Path, experiments: Sequence[str], names: Sequence[str]) -> list[StoredRun]:
    """All runs with these tags only, without parameters and metrics, newest first.

    Reads each tag of all runs in the order of an index, which is faster than run by run.
    """
    with _opened(path) as database:
        rows = database.execute(*query_of(Wanted(experiments))).fetchall()
        tags: dict[str, dict[str, str]] = {row[0]: {} for row in rows}
        for name in names:
            query = f"SELECT run_uuid, value FROM tags WHERE key = {_mark(name)}"
            for run_id, value in database.execute(query, () if name in INDEXED else (name,)):
                if run_id in tags:
                    tags[run_id][name] = value
    return [_run(row, tags[row[0]], {}, {}) for row in rows]


def query_of(wanted: Wanted) -> tuple[str, list[Any]]:
    """The SQL that chooses runs, and its values."""
    marks = ", ".join("?" * len(wanted.experiments))
    terms = ["lifecycle_stage = 'active'", f"experiment_id IN ({marks})"]
    values: list[Any] = [int(number) for number in wanted.experiments]
    for name, value in wanted.tags.items():
        terms.append(
            f"run_uuid IN (SELECT run_uuid FROM tags WHERE key = {_mark(name)} AND value = ?)"
        )
        values += [value] if name in INDEXED else [name, value]
    for name, value in wanted.params.items():
        terms.append(
            "EXISTS (SELECT 1 FROM params WHERE key = ? AND params.run_uuid = runs.run_uuid "
            "AND value = ?)"
        )
        values += [name, value]
    if wanted.finished:
        terms.append("status = ?")
        values.append(FINISHED)
    limit = -1 if wanted.limit is None else wanted.limit
    order = "ORDER BY start_time DESC, run_uuid LIMIT ?"
    return f"SELECT {_COLUMNS} FROM runs WHERE {' AND '.join(terms)} {order}", [*values, limit]


def _mark(name: str) -> str:
    """A tag's name in SQL: SQLite uses the partial index only for names that it can read."""
    return f"'{name}'" if name in INDEXED else "?"


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_PATIENCE)) as found:
        found.execute("BEGIN")  # all reads see the same state
        yield found


def _choose(database: sqlite3.Connection, wanted: Wanted) -> list[tuple[Any, ...]]:
    """Rows of the wanted runs; their ids are in the temporary table ``chosen``."""
    rows = database.execute(*query_of(wanted)).fetchall()
    database.execute("CREATE TEMP TABLE chosen (run_uuid TEXT PRIMARY KEY) WITHOUT ROWID")
    database.executemany("INSERT INTO chosen VALUES (?)", ((row[0],) for row in rows))
    return rows


def _values(database: sqlite3.Connection, table: str) -> dict[str, dict[str, Any]]:
    """Values of the chosen runs by the run's id and the value's name."""
    found: dict[str, dict[str, Any]] = {}
    query = (
        f"SELECT v.run_uuid, v.key, {_VALUES[table]} FROM chosen c CROSS JOIN {table} v "
        "ON v.run_uuid = c.run_uuid"
    )
    for run_id, key, value in database.execute(query):
        found.setdefault(run_id, {})[key] = value
    return found


def _run(
    row: tuple[Any, ...],
    tags: Mapping[str, str],
    params: Mapping[str, str],
    metrics: Mapping[str, float],
) -> StoredRun:
    run_id, name, status, artifact_uri, experiment, started = row
    return StoredRun(
        run_id=run_id,
        name=name or run_id,
        status=status,
        tags=tags,
        params=params,
        metrics=metrics,
        artifact_uri=artifact_uri,
        experiment=str(experiment),
        started=day_of(started),
    )
