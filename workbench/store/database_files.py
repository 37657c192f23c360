"""Create or upgrade the SQLite file of a store, completely or not at all.

MLflow creates and upgrades its tables in about fifty steps that are not one transaction. A process
that ends in between leaves a database that MLflow cannot open again. This module runs the steps
on another file beside the database. A new database is renamed to its final name when it is
complete; an upgraded copy is written back in one SQLite transaction.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from workbench.data.whole_files import write_through
from workbench.errors import LostStoreError, StoreError
from workbench.store.tracking_uris import without_password

_REMEDY = "name another by --tracking-uri"
_COPIED_TABLE = "_alembic_tmp_"  # Alembic alters a table of SQLite by copying it to such a name
#: Tables that have rows even in a store without records.
_BOOKKEEPING = ("alembic_version", "experiments", "workspaces")
_SIDECARS = ("-journal", "-wal", "-shm")
_PATIENCE = 20.0  # seconds that another program may hold the database


@dataclass(frozen=True)
class Schema:
    """The tables that the installed MLflow needs.

    Attributes:
        head: revision of the newest tables.
        revisions: every revision that this MLflow knows.
        upgrade: upgrades the database at that path to ``head``, from any known revision; the
            file may be missing.
    """

    head: str
    revisions: frozenset[str]
    upgrade: Callable[[Path], None]


def check_database(path: Path, uri: str) -> None:
    """Check that a SQLite store can be written and is not another program's database.

    Creates the parent folder, but no file. Without this check MLflow would retry for minutes when
    the path is a folder, and would add its tables to any SQLite file.

    Raises:
        StoreError: when it cannot be written, or is another program's database.
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
            f"store {shown}: {path} is not a SQLite database ({error}); {_REMEDY}"
        ) from None
    if names and not _is_mlflows(path, names):
        raise StoreError(f"store {shown}: {path} is a database, but not MLflow's; {_REMEDY}")


def check_usable(path: Path, uri: str, schema: Callable[[], Schema], *, writes: bool) -> bool:
    """Check a SQLite store before it is opened; whether it must be left as it is.

    Args:
        schema: returns the tables that the installed MLflow needs.
        writes: whether something may be written; otherwise a file that cannot be written is
            accepted, if it needs no upgrade.

    Raises:
        StoreError: when it cannot be used.
    """
    if writes or not _is_read_only(path):
        check_database(path, uri)
        return False
    _check_readable(path, uri, schema())
    return True


def _is_read_only(path: Path) -> bool:
    """Whether an existing database can be read, but neither it nor its folder can be written."""
    return (
        path.is_file()
        and os.access(path, os.R_OK)
        and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK))
    )


def _check_readable(path: Path, uri: str, schema: Schema) -> None:
    """Check that a store that cannot be written has the tables of this version."""
    shown = without_password(uri)
    try:
        names = _tables(path)
        whole = _is_mlflows(path, names) and _revision(path, names) == schema.head
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"store {shown}: {path} cannot be read ({error}); copy it to a folder that you can "
            "write to, and name the copy by --tracking-uri"
        ) from None
    if not whole:
        raise StoreError(
            f"store {shown}: {path} has no tables of this MLflow's version, and cannot be written; "
            "copy it to a folder that you can write to, and name the copy by --tracking-uri"
        )


def check_still_there(path: Path, shown: str) -> None:
    """Check that an opened database still has its records: SQLite would begin an empty one.

    Raises:
        LostStoreError: when the file was removed or emptied.
    """
    there = os.path.isfile(path)
    if not there or not path.stat().st_size:
        raise LostStoreError(
            f"store {shown}: {path} was {'emptied' if there else 'removed'} while the work was "
            "going on; put it back, or run the same command again to start from the beginning"
        ) from None


def prepare_database(path: Path, shown: str, schema: Schema) -> None:
    """Create or upgrade the store's database; the file is complete at every moment.

    The caller holds the store's lock and has called ``check_database``. A database that is
    up to date is only read. A database that an earlier version left broken is created again if
    it holds no records.

    Args:
        shown: the store's address in error messages.

    Raises:
        StoreError: when the database belongs to a newer MLflow, or is broken and not empty.
    """
    part = path.with_name(f"{path.name}.workbench.part")
    _remove(part)  # left by a killed process; the lock rules out a running one
    tables = _tables(path)
    if not tables:
        _make(path, part, schema)
        return
    revision = _revision(path, tables)
    if revision == schema.head:
        return
    if revision not in (None, *schema.revisions):
        raise StoreError(
            f"store {shown}: the tables belong to another MLflow (revision {revision}), probably "
            f"a newer one; upgrade mlflow, or {_REMEDY}"
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
            f"records; replace {path} with a backup, or {_REMEDY}"
        )
    _make(path, part, schema)


def recorded_revision(path: Path) -> str | None:
    """Revision of MLflow's tables in a file that ``check_database`` accepts; None without any."""
    return _revision(path, _tables(path))


def _make(path: Path, part: Path, schema: Schema) -> None:
    """Build an empty database in ``part`` and rename it to ``path``."""
    _remove(part)
    try:
        schema.upgrade(part)
        write_through(part)
    except BaseException:
        _remove(part)
        raise
    # SQLite would apply a journal of the old file to the new one.
    _remove_sidecars(path)
    os.replace(part, path)
    with suppress(OSError):  # some network file systems cannot sync a folder
        write_through(path.parent)


def _upgrade(path: Path, part: Path, schema: Schema) -> None:
    """Upgrade a copy, and write it back in one transaction.

    The copy is not renamed over the file: programs that have the file open would continue to
    write to the deleted one.
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
    """A callback for a backup that limits the wait and lets Python handle Ctrl-C."""
    end = time.monotonic() + _PATIENCE

    def check(status: int, remaining: int, total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > end:
            raise StoreError(f"another program is using {path}; close it first")

    return check


def _version(database: sqlite3.Connection) -> int:
    """A number that changes when another connection writes."""
    return int(database.execute("PRAGMA data_version").fetchone()[0])


def _tables(path: Path) -> set[str]:
    """Names of the tables; empty for a file that is missing or empty."""
    if not path.is_file() or not path.stat().st_size:
        return set()
    with closing(sqlite3.connect(path, timeout=_PATIENCE)) as database:
        found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name for (name,) in found}


def _is_mlflows(path: Path, tables: set[str]) -> bool:
    """Whether these are MLflow's tables, or the first of them."""
    names = {name.removeprefix(_COPIED_TABLE) for name in tables}
    return names >= {"experiments", "runs"} or (
        names == {"experiments"} and not _rows(path, "experiments")
    )


def _is_empty(path: Path, tables: set[str]) -> bool:
    """Whether the store holds nothing except names of experiments."""
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
