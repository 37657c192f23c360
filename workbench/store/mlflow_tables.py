"""MLflow's client, and the tables of its database: their required revision and their creation.

Only ``mlflow_store``, which sets MLflow's environment first, imports this module.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path
from typing import Any

from workbench.store.database_files import Schema
from workbench.store.tag_index import CREATE_TAG_INDEX, TAG_INDEX

_TABLES_LOCK = 0x706661  # any number that other programs are unlikely to lock


def silence_logs() -> None:
    """Keep log lines of MLflow and its database libraries off the user's screen."""
    # Errors that these libraries log are also raised, and are reported in one line.
    for name in ("mlflow", "alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def quiet_client(uri: str) -> Any:
    """A client that prints no log lines and sends no telemetry."""
    from mlflow import MlflowClient

    silence_logs()
    # Without its own address, the client would use the registry of the global MLflow state.
    registry = os.environ.get("MLFLOW_REGISTRY_URI") or uri
    return MlflowClient(tracking_uri=uri, registry_uri=registry)


def create_experiment(client: Any, name: str, location: str | None) -> Any:
    """Create an experiment, or find it if another process creates it at the same time."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=location))
    except MlflowException:
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return found


def mlflow_schema() -> Schema:
    """The tables that this MLflow needs, and the function that creates them."""
    head, revisions = _revisions()
    return Schema(head, revisions, _upgrade_tables)


@cache
def _revisions() -> tuple[str, frozenset[str]]:
    """The newest revision of MLflow's tables, and all revisions that it can upgrade."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils

    tools: Any = utils
    scripts = ScriptDirectory.from_config(tools._get_alembic_config(db_url=""))
    (head,) = scripts.get_heads()
    return head, frozenset(script.revision for script in scripts.walk_revisions())


def _upgrade_tables(path: Path) -> None:
    """Create or upgrade the tables of the database at that path; this takes seconds."""
    from mlflow.store.db import utils

    silence_logs()
    tools: Any = utils
    engine = tools.create_sqlalchemy_engine(f"sqlite:///{path}")
    try:
        if tools._is_empty_database(engine):
            tools._initialize_tables(engine)
        else:
            tools._upgrade_db(engine)
    finally:
        engine.dispose()


def prepare_postgresql(uri: str) -> None:
    """Create or upgrade the tables of a PostgreSQL database, and add the index by key and kind.

    MLflow's own lock for this is a file, which processes on another machine do not see. A lock of
    the database is released even when the process is killed.
    """
    from mlflow.store.db import utils
    from sqlalchemy import text

    silence_logs()
    tools: Any = utils
    engine = tools.create_sqlalchemy_engine(uri)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": _TABLES_LOCK})
            head, revisions = _revisions()
            if not tools._all_tables_exist(engine):
                tools._initialize_tables(engine)
            elif tools._get_schema_version(engine) in revisions - {head}:
                tools._upgrade_db(engine)
            _add_index(connection)
    finally:
        engine.dispose()


def _add_index(connection: Any) -> None:
    """Add the index by key and kind, if there is none and the user may do so."""
    from sqlalchemy import text
    from sqlalchemy.exc import ProgrammingError

    found = text(
        "SELECT 1 FROM pg_indexes WHERE schemaname = current_schema() AND indexname = :name"
    )
    if connection.execute(found, {"name": TAG_INDEX}).first() is not None:
        return
    try:
        connection.execute(text(CREATE_TAG_INDEX))
        connection.commit()  # the advisory lock is the session's and lasts
    except ProgrammingError:  # the tables belong to another user; searches are slower without it
        connection.rollback()
