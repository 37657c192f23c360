"""What makes commands quick in tests: used in pytest's processes and in those that are forked.

No test asks how good a latency is, nor whether a record survives a power cut.
"""

import os
import shutil
import sqlite3

from workbench.store import mlflow_tables

#: Makes the tables of an MLflow store.
UPGRADE_TABLES = mlflow_tables._upgrade_tables


def make_quick(change, empty_store):
    """Change what takes long.

    Args:
        change: as ``setattr``.
        empty_store: returns the path of a database that MLflow has set up: that takes it seconds.
    """
    from workbench.adaptation.analysis import analysis
    from workbench.deployment import runtimes

    def copy_tables(path):
        if path.exists():
            UPGRADE_TABLES(path)
        else:
            shutil.copyfile(empty_store(), path)

    change(mlflow_tables, "_upgrade_tables", copy_tables)
    # A latency is the median of three passes and one.
    change(analysis, "_ROUNDS", {1: 3, 64: 1})
    change(runtimes, "_MOST_ROUNDS", {1: 3, 64: 1})
    change(runtimes, "_FEWEST_ROUNDS", 1)
    change(os, "fsync", lambda file: None)


def leave_to_the_system(connection, _record):
    """Write a new connection's transactions to the disk when the system likes: for ``connect``."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")
