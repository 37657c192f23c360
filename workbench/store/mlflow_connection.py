"""The connection to an MLflow store: opened once, locked around each call, with clear errors.

A local SQLite store is locked around each call, because MLflow 3 creates its tables without a lock
and SQLite rejects concurrent writers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from filelock import FileLock

from workbench.store import mlflow_environment  # noqa: F401 - before anything imports mlflow
from workbench.store.database_files import check_still_there, check_usable, prepare_database
from workbench.store.deferred_signals import deferred
from workbench.store.mlflow_tables import mlflow_schema, prepare_postgresql, quiet_client
from workbench.store.sqlite_runs import add_index
from workbench.store.store_errors import store_error
from workbench.store.tracking_uris import (
    check_uri,
    database_path,
    store_uri,
    with_driver,
    without_password,
)


class Connection:
    """An MLflow store that can be reached.

    Args:
        uri, writes: as for ``mlflow_store.Store``.

    Attributes:
        uri, shown, address: as for ``mlflow_store.Store``.
        database: absolute path of a SQLite file; None for another store.
        client: the ``MlflowClient``, for calls inside ``guard``.

    Raises:
        StoreError: when the store cannot be reached, read or written.
    """

    def __init__(self, uri: str | None, *, writes: bool) -> None:
        self.uri = store_uri(uri)
        check_uri(self.uri)
        self.shown = without_password(self.uri)
        self.database = database_path(self.uri)
        self._lock: Any = nullcontext()
        self.address = with_driver(self.uri)
        self._opened = False
        as_it_is = False
        if self.database:
            as_it_is = check_usable(self.database, self.uri, mlflow_schema, writes=writes)
            self.database = self.database.resolve()
            # SQLite's own locks are enough for reading; a file has no place in such a folder.
            self._lock = nullcontext() if as_it_is else FileLock(f"{self.database}.lock")
            # MLflow caches one engine per URI. A relative URI would still refer to the old
            # folder after the working directory changes.
            self.address = f"sqlite:///{self.database}"
        with self.guard("opened"):
            if self.database and not as_it_is:
                prepare_database(self.database, self.shown, mlflow_schema())
                add_index(self.database)
            if self.address.startswith("postgresql"):
                prepare_postgresql(self.address)
            self.client = quiet_client(self.address)
            self.client.search_experiments(max_results=1)
        self._opened = True

    @contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Lock a SQLite store, delay signals, and turn errors into a StoreError of one line.

        Args:
            what: what could not be done to the store, for the message: "read" or "written".
        """
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        self._check_there()
        try:
            with deferred(), self._lock:
                yield
        except (
            MlflowException,
            SQLAlchemyError,
            sqlite3.Error,
            OSError,
            ImportError,
        ) as error:
            self._check_there()
            raise store_error(error, self.shown, what) from error

    def _check_there(self) -> None:
        if self._opened and self.database:
            check_still_there(self.database, self.shown)
