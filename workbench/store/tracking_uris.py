"""The address of an MLflow store, resolved without importing MLflow."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlparse

from workbench.errors import StoreError

ENVIRONMENT = "MLFLOW_TRACKING_URI"
DEFAULT_URI = "sqlite:///mlruns/mlflow.db"


def store_uri(uri: str | None) -> str:
    """The tracking URI: the one given, ``$MLFLOW_TRACKING_URI``, or SQLite under ``mlruns``."""
    return uri or os.environ.get(ENVIRONMENT) or DEFAULT_URI


def store_exists(uri: str | None) -> bool:
    """Whether there is a store to read; a server is assumed to exist."""
    check_uri(store_uri(uri))
    database = database_path(store_uri(uri))
    return database is None or (os.path.isfile(database) and database.stat().st_size > 0)


def check_exists(uri: str | None) -> None:
    """Check that there is a store to read.

    Raises:
        StoreError: when there is none.
    """
    if not store_exists(uri):
        shown = without_password(store_uri(uri))
        raise StoreError(f"store {shown}: does not exist yet; run 'workbench adapt' first")


def with_driver(uri: str) -> str:
    """The URI of a PostgreSQL store with the driver that the extra ``[postgresql]`` installs.

    Newer versions of SQLAlchemy expect another one if the URI names none.
    """
    scheme, colon, rest = uri.partition(":")
    return f"{scheme}+psycopg2{colon}{rest}" if scheme in ("postgresql", "postgres") else uri


def without_password(uri: str) -> str:
    """The URI without its password, to be shown and recorded."""
    return re.sub(r"//[^/@]*@", "//", uri)


def check_uri(uri: str) -> None:
    """Check that MLflow can use a tracking URI; nothing is read or written.

    Raises:
        StoreError: when MLflow cannot use it.
    """
    shown = without_password(uri)
    remedy = "use --tracking-uri sqlite:///mlruns/mlflow.db or the http address of a server"
    try:
        scheme = urlparse(uri).scheme
    except ValueError as error:  # "http://[::1"
        raise StoreError(f"store {shown}: is not an address ({error}); {remedy}") from None
    if scheme in ("", "file"):
        raise StoreError(f"store {shown}: MLflow 3 keeps no runs in plain folders; {remedy}")
    if not uri.startswith(f"{scheme}:"):
        raise StoreError(f"store {shown}: write '{scheme}' in lower case")
    if scheme.startswith("sqlite") and not uri.startswith(f"{scheme}:///"):
        raise StoreError(f"store {shown}: write three slashes before the file's name; {remedy}")
    if scheme.startswith("sqlite"):
        name = unquote(urlparse(uri).path)[1:]
        if name.strip("/.") in ("", ":memory:") or name.startswith("~") or not name.isprintable():
            raise StoreError(f"store {shown}: cannot be written: it does not name a file; {remedy}")


def database_path(uri: str) -> Path | None:
    """The file of a SQLite store; None for any other store."""
    parsed = urlparse(uri)
    if parsed.scheme.split("+")[0] != "sqlite":
        return None
    return Path(unquote(parsed.path)[1:])


def local_path(uri: str) -> Path | None:
    """The folder on this machine that an artifact URI names; None when it is elsewhere."""
    parsed = urlparse(uri)
    if parsed.scheme == "file":
        return Path(unquote(parsed.path))
    return Path(uri) if parsed.scheme == "" else None
