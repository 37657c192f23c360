"""A store's database is whole whenever the process ends."""

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from processes import take_interrupts

from workbench.errors import StoreError
from workbench.store.database_files import Schema, prepare_database
from workbench.store.mlflow_store import Store

#: Opens the store of its argument.
OPEN = "import sys; from workbench.store.mlflow_store import Store; Store(sys.argv[1])"
#: Upgrades a database of one row by a migration that writes 80 MB.
UPGRADE = """
import sqlite3, sys
from pathlib import Path
from workbench.store.database_files import Schema, prepare_database

def upgrade(path):
    database = sqlite3.connect(path)
    with database:
        database.execute("CREATE TABLE ballast (bytes BLOB)")
        for _ in range(4):
            database.execute("INSERT INTO ballast VALUES (randomblob(20000000))")
        database.execute("UPDATE alembic_version SET version_num = 'new'")
    database.close()

prepare_database(Path(sys.argv[1]), "s", Schema("new", frozenset({"old", "new"}), upgrade))
"""
CREATION = 2.0  # seconds from MLflow's first table to its last on an idle core


def start(code, *args):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=take_interrupts,
    )


def wait_for(process, happened):
    deadline = time.monotonic() + 60
    while not happened() and process.poll() is None:
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def is_whole(folder):
    """The next run opens the store, records in it, and leaves nothing but what belongs there."""
    store = Store(f"sqlite:///{folder}/mlflow.db")
    number = store.experiment("digits")
    store.end(store.start(number, "a", {}, {}), "FINISHED")
    assert [run.status for run in store.runs([number], {})] == ["FINISHED"]
    return {path.name for path in folder.iterdir()} == {"mlflow.db", "mlflow.db.lock"}


def is_begun(folder):
    """Whether a table is there, in the database or in a file beside it."""
    with suppress(FileNotFoundError):  # a journal comes and goes
        return any(path.stat().st_size for path in folder.glob("mlflow.db*"))
    return True


def cut_off_at(folder, delay, number):
    """End a process that makes a store, so many seconds after the first table."""
    process = start(OPEN, f"sqlite:///{folder}/mlflow.db")
    wait_for(process, lambda: is_begun(folder))
    time.sleep(delay)
    process.send_signal(number)
    process.communicate()


@pytest.mark.parametrize("moment", [0.0, 0.15, 0.35, 0.6, 0.85])
def test_a_store_whose_making_is_killed_is_made_by_the_next_run(tmp_path, moment):
    cut_off_at(tmp_path, moment * CREATION, signal.SIGKILL)
    assert is_whole(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(20))
def test_it_is_whole_at_twenty_moments_and_by_every_signal(tmp_path, moment):
    number = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM)[moment % 4]
    cut_off_at(tmp_path, moment / 19 * CREATION, number)
    assert is_whole(tmp_path)


def test_two_processes_that_make_one_store_agree(tmp_path):
    processes = [start(OPEN, f"sqlite:///{tmp_path}/mlflow.db") for _ in range(2)]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert is_whole(tmp_path)


# --- what an earlier version left -------------------------------------------------------------

OLD = "728d730b5ebd"  # of MLflow 1.8
ADD_RUN = (
    "INSERT INTO experiments (experiment_id, name, lifecycle_stage) VALUES (1, 'old', 'active')",
    "INSERT INTO runs "
    "(run_uuid, name, user_id, experiment_id, status, lifecycle_stage, start_time) "
    f"VALUES ('{'a' * 32}', 'kept', 'me', 1, 'FINISHED', 'active', 7)",
)
#: What the interrupted making of a database left: statements after those of its old tables.
BROKEN = {
    "a table is copied": ("CREATE TABLE _alembic_tmp_experiments (experiment_id INTEGER)",),
    "a table is to be renamed": ("ALTER TABLE runs RENAME TO _alembic_tmp_runs",),
    "half a migration": ("CREATE TABLE model_version_tags (key VARCHAR(250))",),
}


def run_sql(path, *lines):
    with closing(sqlite3.connect(path)) as database, database:
        return [database.execute(line).fetchall() for line in lines][-1]


@pytest.fixture(scope="module")
def old_tables(tmp_path_factory):
    """A database as an old MLflow made it."""
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config, create_sqlalchemy_engine
    from mlflow.store.tracking.dbmodels.initial_models import Base

    path = tmp_path_factory.mktemp("old") / "mlflow.db"
    engine = create_sqlalchemy_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    command.upgrade(_get_alembic_config(f"sqlite:///{path}"), OLD)
    engine.dispose()
    return path


@pytest.fixture
def old(old_tables, tmp_path):
    return shutil.copyfile(old_tables, tmp_path / "mlflow.db")


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_store_without_runs_is_made_again(old, case):
    run_sql(old, *BROKEN[case])
    assert is_whole(old.parent)


def test_a_store_of_a_single_table_is_made_again(tmp_path):
    run_sql(tmp_path / "mlflow.db", "CREATE TABLE experiments (experiment_id INTEGER)")
    assert is_whole(tmp_path)


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_store_with_runs_is_one_line_and_stays_as_it_is(old, case):
    run_sql(old, *ADD_RUN, *BROKEN[case])
    before = old.read_bytes()
    with pytest.raises(StoreError, match=r"holds records; replace .* with a backup") as failed:
        Store(f"sqlite:///{old}")
    assert len(str(failed.value).splitlines()) == 1
    assert old.read_bytes() == before
    assert {path.name for path in old.parent.iterdir()} == {"mlflow.db", "mlflow.db.lock"}


def test_a_store_of_an_older_mlflow_is_upgraded_with_its_runs(old):
    run_sql(old, *ADD_RUN)
    store = Store(f"sqlite:///{old}")
    (run,) = store.runs(["1"], {})
    assert (run.run_id, run.name, run.status) == ("a" * 32, "kept", "FINISHED")
    assert is_whole(old.parent)


def test_a_store_of_a_newer_mlflow_is_rejected_and_stays_as_it_is(old):
    run_sql(old, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    before = old.read_bytes()
    with pytest.raises(StoreError, match=r"revision ffffffffffff.*upgrade mlflow"):
        Store(f"sqlite:///{old}")
    assert old.read_bytes() == before


# --- the steps by themselves ------------------------------------------------------------------


def no_upgrade(path):
    pytest.fail("it was upgraded")


def small_tables(path, revision):
    run_sql(
        path,
        "CREATE TABLE experiments (id INTEGER)",
        "CREATE TABLE runs (id INTEGER)",
        "INSERT INTO runs VALUES (7)",
        "CREATE TABLE alembic_version (version_num TEXT)",
        f"INSERT INTO alembic_version VALUES ('{revision}')",
    )


def schema(upgrade):
    return Schema("new", frozenset({"old", "new"}), upgrade)


def test_a_database_that_is_up_to_date_is_only_read(tmp_path):
    path = tmp_path / "a.db"
    small_tables(path, "new")
    before = path.stat()
    prepare_database(path, "a", schema(no_upgrade))
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("made", [lambda path: None, Path.touch], ids=["missing", "empty"])
def test_a_failed_making_leaves_what_was_there(tmp_path, made):
    path = tmp_path / "a.db"
    made(path)
    before = list(tmp_path.iterdir())

    def fail(part):
        small_tables(part, "old")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_database(path, "a", schema(fail))
    assert list(tmp_path.iterdir()) == before


def test_a_table_that_an_old_upgrade_left_does_no_harm_to_new_tables(tmp_path):
    path = tmp_path / "a.db"
    small_tables(path, "new")
    run_sql(path, "CREATE TABLE _alembic_tmp_runs (id INTEGER)")
    prepare_database(path, "a", schema(no_upgrade))
    assert run_sql(path, "SELECT id FROM runs") == [(7,)]


def test_files_of_killed_processes_go_even_when_the_database_is_whole(tmp_path):
    path = tmp_path / "a.db"
    small_tables(path, "new")
    for suffix in ("", "-journal", "-wal", "-shm"):
        (tmp_path / f"a.db.workbench.part{suffix}").write_text("left")
    prepare_database(path, "a", schema(no_upgrade))
    assert list(tmp_path.iterdir()) == [path]


def test_a_journal_of_the_old_file_is_not_played_into_the_new_one(tmp_path):
    path = tmp_path / "a.db"
    path.touch()
    for suffix in ("-journal", "-wal", "-shm"):
        (tmp_path / f"a.db{suffix}").write_bytes(b"old")
    prepare_database(path, "a", schema(lambda part: small_tables(part, "new")))
    assert list(tmp_path.iterdir()) == [path]
    assert run_sql(path, "SELECT id FROM runs") == [(7,)]


def test_another_programs_writing_during_an_upgrade_is_not_lost(tmp_path):
    path = tmp_path / "a.db"
    small_tables(path, "old")

    def upgrade(part):
        run_sql(path, "INSERT INTO runs VALUES (8)")

    with pytest.raises(StoreError, match="another program wrote"):
        prepare_database(path, "a", schema(upgrade))
    assert run_sql(path, "SELECT id FROM runs") == [(7,), (8,)]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_an_upgrade_that_is_killed_while_it_is_written_back_is_undone(tmp_path, journal):
    path = tmp_path / "a.db"
    small_tables(path, "old")
    run_sql(path, f"PRAGMA journal_mode = {journal}")
    process = start(UPGRADE, path)
    size = path.stat().st_size
    written = path if journal == "delete" else tmp_path / "a.db-wal"
    wait_for(process, lambda: written.exists() and written.stat().st_size > size + 1_000_000)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was faster"
    assert run_sql(path, "PRAGMA integrity_check") == [("ok",)]
    assert run_sql(path, "SELECT version_num FROM alembic_version") == [("old",)]

    def upgrade(part):
        run_sql(part, "UPDATE alembic_version SET version_num = 'new'")

    prepare_database(path, "a", schema(upgrade))
    assert run_sql(path, "SELECT version_num FROM alembic_version") == [("new",)]
    assert run_sql(path, "SELECT id FROM runs") == [(7,)]
    assert not list(tmp_path.glob("*.part*"))
