"""A store in a folder that cannot be written: it can be compared and reported."""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from filelock import FileLock

from workbench.errors import StoreError
from workbench.store import database_files
from workbench.store.mlflow_store import Store

ADAPT = (
    "adapt --source digits --target digits-0v1 --source-epochs 1 --epochs 1 --batch-size 64 "
    "--schedule one-cycle --protocols pfa-fine --json"
).split()
URI = "sqlite:///mlruns/mlflow.db"


@pytest.fixture
def read_only(monkeypatch):
    """Make a folder as a read-only disk is: no file is made in it, not even by root."""

    def change(folder):
        folder, access = folder.resolve(), os.access

        def reject(path, mode):
            inside = Path(path).resolve().is_relative_to(folder)
            return not (inside and mode & os.W_OK) and access(path, mode)

        def acquire(self, *args, acquire=FileLock.acquire, **options):
            if Path(self.lock_file).resolve().is_relative_to(folder):
                raise OSError(30, "Read-only file system", self.lock_file)
            return acquire(self, *args, **options)

        monkeypatch.setattr(database_files.os, "access", reject)
        monkeypatch.setattr(FileLock, "acquire", acquire)
        changed.append(folder)
        for path in (*folder.rglob("*"), folder):
            path.chmod(0o555 if path.is_dir() else 0o444)

    changed = []
    yield change
    for folder in changed:
        folder.chmod(0o755)
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_it_is_compared_and_reported_and_nothing_is_written(run_cli, tmp_path, read_only):
    status, out, err = run_cli(*ADAPT)
    assert status == 0, err
    run = json.loads(out)["run_id"]
    wanted = run_cli("compare", "--json")[1]
    read_only(tmp_path / "mlruns")
    before = files(tmp_path / "mlruns")
    assert run_cli("compare", "--json") == (0, wanted, "")
    status, _, err = run_cli("report", run)
    assert (status, err) == (0, "")
    assert "pfa-fine" in (tmp_path / "report.html").read_text()
    assert files(tmp_path / "mlruns") == before


def test_tables_of_another_version_are_one_line(tmp_path, read_only):
    Store(URI)
    with closing(sqlite3.connect(tmp_path / "mlruns/mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '0584bdc529eb'")
    read_only(tmp_path / "mlruns")
    with pytest.raises(StoreError) as caught:
        Store(URI, writes=False)
    (line,) = caught.value.problems
    assert "has no tables of this MLflow's version, and cannot be written; copy it" in line
