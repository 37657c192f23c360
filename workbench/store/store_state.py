"""Whether a store can be used, without creating or upgrading it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import StoreError
from workbench.store.database_files import check_database, recorded_revision
from workbench.store.mlflow_store import Store
from workbench.store.mlflow_tables import mlflow_schema
from workbench.store.tracking_uris import check_uri, database_path, store_uri, without_password

_LOCKED_SECONDS = 5.0  # that another program may hold the database


@dataclass(frozen=True)
class StoreState:
    """What is known about a usable store.

    Attributes:
        ready: whether it exists, with up-to-date tables.
        text: its address and what was found.
    """

    ready: bool
    text: str


def store_state(tracking_uri: str | None) -> StoreState:
    """Look at a store. A SQLite file is locked for an instant, but not changed.

    Raises:
        StoreError: when it cannot be reached, or a SQLite store cannot be written.
    """
    uri = store_uri(tracking_uri)
    check_uri(uri)
    shown = without_password(uri)
    database = database_path(uri)
    if database is not None:
        return _of_file(database, uri, shown)
    if not uri.startswith("http"):
        return StoreState(False, f"{shown}: is not checked, because that could create its tables")
    number = len(Store(uri).experiments())
    return StoreState(True, f"{shown}: answers, {number} experiments; writing is not tried")


def _of_file(path: Path, uri: str, shown: str) -> StoreState:
    if not path.exists():
        there = next(each for each in path.absolute().parents if each.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            raise StoreError(
                f"store {shown}: cannot be created, because {there} cannot be written; name "
                "another by --tracking-uri"
            )
        return StoreState(False, f"{shown}: does not exist yet; the first command creates it")
    check_database(path, uri)
    revision, schema = recorded_revision(path), mlflow_schema()
    if revision is None:
        return StoreState(False, f"{shown}: is empty; the first command creates its tables")
    if revision not in schema.revisions:
        raise StoreError(
            f"store {shown}: the tables belong to another MLflow (revision {revision}), probably "
            "a newer one; upgrade mlflow, or name another by --tracking-uri"
        )
    if revision != schema.head:
        return StoreState(False, f"{shown}: has older tables; the first command upgrades them")
    return StoreState(True, f"{shown}: can be written, {_runs(path, shown):,} runs")


def _runs(path: Path, shown: str) -> int:
    """Number of runs; takes the lock of a writer for an instant."""
    try:
        with closing(
            sqlite3.connect(path, timeout=_LOCKED_SECONDS, isolation_level=None)
        ) as database:
            database.execute("BEGIN IMMEDIATE")
            number = int(database.execute("SELECT count(*) FROM runs").fetchone()[0])
            database.execute("ROLLBACK")
            return number
    except sqlite3.Error as error:
        raise StoreError(
            f"store {shown}: cannot be written ({error}); close other programs that use it, or "
            "check the disk"
        ) from None
