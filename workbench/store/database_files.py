"""The SQLite file of a store: made whole or not at all.

MLflow makes and upgrades its tables by about fifty steps that are not one transaction, so a
process that ends in between leaves a database that no MLflow opens again. Here the steps are done
in another file beside the database. A new database is renamed to its place when it is whole; an
upgraded copy is written back in one transaction of SQLite.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import StoreError
from workbench.store.addresses import without_password

_REMEDY = "name another by --tracking-uri"
_COPIED_TABLE = "_alembic_tmp_"  # Alembic alters a table of SQLite by copying it to such a name
#: Tables that a store without any record has rows in.
_BOOKKEEPING = ("alembic_version", "experiments", "workspaces")
_SIDECARS = ("-journal", "-wal", "-shm")
_PATIENCE = 20.0  # seconds that another program may hold the database


@dataclass(frozen=True)
class Schema:
    """The tables that the installed MLflow needs.

    Attributes:
        head: revision of the newest tables.
        revisions: every revision that this MLflow knows.
        upgrade: makes the tables of the head in the database of that path, from whatever
            revision it has; the file may be missing.
    """

    head: str
    revisions: frozenset[str]
    upgrade: Callable[[Path], None]


def check_database(path: Path, uri: str) -> None:
    """Check that a SQLite store can be written and is nobody else's database; no file is made.

    MLflow would try a folder for minutes, and would add its tables to any SQLite file.

    Raises:
        StoreError: when it cannot, or is.
    """
    shown = without_password(uri)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.open("ab").close()
        elif not os.access(path.parent, os.W_OK | os.X_OK):
            raise PermissionError(0, "Permission denied")
    except OSError as error:
        raise StoreError(
            f"store {shown}: {path} cannot be written ({error.strerror}); {_REMEDY}"
        ) from None
    try:
        names = _tables(path)
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"store {shown}: {path} is no SQLite database ({error}); {_REMEDY}"
        ) from None
    if names and not _is_mlflows(path, names):
        raise StoreError(f"store {shown}: {path} is a database, but not MLflow's; {_REMEDY}")


def prepare_database(path: Path, shown: str, schema: Schema) -> None:
    """Make the store's database, or upgrade it, so that it is whole at every moment.

    The caller holds the store's lock and has called ``check_database``. A database that is
    up to date is only read. One that an earlier version left broken is made again if it holds
    no records.

    Args:
        shown: the store's address in error messages.

    Raises:
        StoreError: when the database is of a newer MLflow, or broken and not empty.
    """
    part = path.with_name(f"{path.name}.workbench.part")
    _remove(part)  # a process was killed here; the lock says that none is at work
    tables = _tables(path)
    if not tables:
        _make(path, part, schema)
        return
    revision = _revision(path, tables)
    if revision == schema.head:
        return
    if revision not in (None, *schema.revisions):
        raise StoreError(
            f"store {shown}: the tables are of another MLflow (revision {revision}), probably a "
            f"newer one; upgrade mlflow, or {_REMEDY}"
        )
    reason = "an earlier upgrade was interrupted"
    broken = any(name.startswith(_COPIED_TABLE) for name in tables)
    if not broken and "runs" in tables:
        try:
            _upgrade(path, part, schema)
            return
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - a migration may raise anything
            reason = " ".join(str(error).split())[:300]
        finally:
            _remove(part)
    if not _is_empty(path, tables):
        raise StoreError(
            f"store {shown}: MLflow's tables cannot be upgraded ({reason}), and the store holds "
            f"records; put a backup in the place of {path}, or {_REMEDY}"
        )
    _make(path, part, schema)


def _make(path: Path, part: Path, schema: Schema) -> None:
    """Build an empty database in ``part`` and rename it to its place."""
    _remove(part)
    try:
        schema.upgrade(part)
        _write_through(part)
    except BaseException:
        _remove(part)
        raise
    # SQLite would play a journal of the file that is replaced into the new one.
    _remove_sidecars(path)
    os.replace(part, path)
    with suppress(OSError):  # some network file systems sync no folder
        _write_through(path.parent)


def _upgrade(path: Path, part: Path, schema: Schema) -> None:
    """Upgrade a copy, and write it back in one transaction.

    Other programs may have the file open, so it is not renamed over: they would write on into
    a file that is gone.
    """
    with closing(sqlite3.connect(path, timeout=_PATIENCE)) as database:
        before = _version(database)
        with closing(sqlite3.connect(part)) as copy:
            database.backup(copy, progress=_wait(path))
        schema.upgrade(part)
        if _version(database) != before:
            raise StoreError(f"another program wrote to {path} meanwhile; close it first")
        with closing(sqlite3.connect(part)) as copy:
            copy.backup(database, progress=_wait(path))


def _wait(path: Path) -> Callable[[int, int, int], None]:
    """A backup's callback: it limits the wait, and lets Python handle Ctrl-C."""
    end = time.monotonic() + _PATIENCE

    def check(status: int, remaining: int, total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > end:
            raise StoreError(f"another program is using {path}; close it first")

    return check


def _version(database: sqlite3.Connection) -> int:
    """A number that changes when another connection writes."""
    return int(database.execute("PRAGMA data_version").fetchone()[0])


def _tables(path: Path) -> set[str]:
    """Names of the tables; none for a file that is missing or empty."""
    if not path.is_file() or not path.stat().st_size:
        return set()
    with closing(sqlite3.connect(path, timeout=_PATIENCE)) as database:
        found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name for (name,) in found}


def _is_mlflows(path: Path, tables: set[str]) -> bool:
    """Whether these are MLflow's tables, or the beginning of them."""
    names = {name.removeprefix(_COPIED_TABLE) for name in tables}
    return names >= {"experiments", "runs"} or (
        names == {"experiments"} and not _rows(path, "experiments")
    )


def _is_empty(path: Path, tables: set[str]) -> bool:
    """Whether the store has nothing but names of experiments."""
    return not any(
        _rows(path, name) for name in tables if name.removeprefix(_COPIED_TABLE) not in _BOOKKEEPING
    )


def _rows(path: Path, table: str) -> bool:
    with closing(sqlite3.connect(path, timeout=_PATIENCE)) as database:
        return database.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone() is not None


def _revision(path: Path, tables: set[str]) -> str | None:
    if "alembic_version" not in tables:
        return None
    with closing(sqlite3.connect(path, timeout=_PATIENCE)) as database:
        row = database.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _remove_sidecars(path)


def _remove_sidecars(path: Path) -> None:
    for suffix in _SIDECARS:
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


def _write_through(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
