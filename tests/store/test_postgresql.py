"""A PostgreSQL database as the store: created by several processes at once, and used."""

import json
import os
import subprocess
import sys
from contextlib import closing

import pytest
from postgresql import lacking, postgresql_server

from workbench.errors import StoreError
from workbench.store.mlflow_store import Store
from workbench.store.run_tags import CLAIM, KIND
from workbench.store.runs import FINISHED

if lacking():
    pytest.skip(lacking(), allow_module_level=True)
import psycopg2


@pytest.fixture(scope="module")
def database():
    """Address of an empty database of a server that listens on a socket in a folder only."""
    with postgresql_server("postgresql") as folder:
        yield f"postgresql:///postgres?host={folder}&user=me"


FIRST_CONTACT = """
import sys
from workbench.store.mlflow_store import Store
print(Store(sys.argv[1]).experiment("digits"))
"""


def test_processes_that_meet_an_empty_database_together_agree(database, tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_CONTACT, database],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # MLflow's own lock is a file in this folder; other machines have other folders.
            env={**os.environ, "TMPDIR": str(tmp_path / str(number))},
        )
        for number in range(3)
        if (tmp_path / str(number)).mkdir() is None
    ]  # fmt: skip
    results = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], results
    assert len({out for out, _ in results}) == 1


def test_a_cell_is_recorded_with_a_claim_and_found_again(database, run_cli, tmp_path):
    options = {"source": "digits", "target": "digits-0v1", "source_epochs": 1,
               "schedule": "one-cycle", "tracking_uri": database}  # fmt: skip
    cell = tmp_path / "cell.json"
    cell.write_text(json.dumps({"kind": "source", "options": options}))
    results = []
    for _ in range(2):
        status, out, err = run_cli("cell", cell)
        assert status == 0, err
        results.append(json.loads(out))
    assert [result["new"] for result in results] == [True, False]
    store = Store(database)
    assert store.is_shared
    (run,) = store.runs(list(store.experiments().values()), {KIND: "source"})
    assert (run.status, CLAIM in run.tags) == (FINISHED, True)


def test_the_index_by_key_is_added_and_used(database):
    def ask(query):
        with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            connection.commit()
            return cursor.fetchall() if cursor.description else []

    Store(database)
    ask("DROP INDEX workbench_tags")
    Store(database)
    plan = (
        "SET enable_seqscan = off; "
        "EXPLAIN SELECT run_uuid FROM tags WHERE key = '{}' AND value = 'a'"
    )
    assert "workbench_tags" in str(ask(plan.format("workbench.key")))
    assert "workbench_tags" not in str(ask(plan.format("a long text")))
    Store(database)  # it is there already
    # A user who may not change the tables works without it.
    ask("DROP INDEX workbench_tags; DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN; "
        "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO guest")  # fmt: skip
    Store(database.replace("user=me", "user=guest")).experiments()
    assert not ask("SELECT 1 FROM pg_indexes WHERE indexname = 'workbench_tags'")


def test_more_metrics_than_one_request_takes(database):
    store = Store(database)
    run_id = store.start(store.experiment("digits"), "long", {}, {})
    store.log(run_id, steps=[("train_loss", 1.0, step) for step in range(1700)])
    assert set(store.logged_steps(run_id, "train_loss")) == set(range(1700))


def test_a_database_that_does_not_answer_is_one_line_without_its_password():
    with pytest.raises(StoreError) as caught:
        Store("postgresql://me:secret@localhost:1/mlflow")
    (line,) = caught.value.problems
    assert "could not be opened" in line
    assert "secret" not in line
