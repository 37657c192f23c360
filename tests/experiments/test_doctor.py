"""``workbench doctor``: findings about libraries, the machine, data and store."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from workbench.experiments.doctor import checks, library_versions, machine, speed
from workbench.experiments.doctor.library_versions import outside, pair_problem
from workbench.experiments.doctor.lines import Check, Line, lines_of, usable
from workbench.store.mlflow_store import Store
from workbench.store.store_state import store_state


@pytest.fixture
def quick(monkeypatch):
    """The speed of the small network only."""
    monkeypatch.setattr(speed, "DEFAULTS", speed.DEFAULTS[:1])


def test_a_working_machine_is_usable_and_nothing_is_written(run_cli, quick, tmp_path):
    status, out, err = run_cli("doctor")
    assert (status, err) == (0, "")
    levels = [line.split()[0] for line in out.splitlines()]
    assert set(levels) <= {"ok", "note"}
    names = {line.split()[1] for line in out.splitlines()}
    assert names >= {"python", "torch", "processor", "threads", "data", "store", "work", "speed"}
    assert "training images/s" in out
    assert "does not exist yet" in out
    assert list(tmp_path.iterdir()) == []


def test_json_has_the_same_findings(run_cli, quick):
    status, out, _ = run_cli("doctor", "--json")
    found = json.loads(out)
    assert (status, found["usable"]) == (0, True)
    assert {"level": "note", "name": "store"}.items() <= next(
        line.items() for line in found["checks"] if line["name"] == "store"
    )


def test_libraries_that_cannot_be_loaded_are_lines_and_no_traceback(tmp_path):
    for name, text in (("torch", "raise OSError('libfake.so: not found')"),
                       ("mlflow", "raise SystemExit('no')")):  # fmt: skip
        (tmp_path / "fake" / name).mkdir(parents=True)
        (tmp_path / "fake" / name / "__init__.py").write_text(text)
    paths = [str(tmp_path / "fake"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "doctor"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    problems = [line[2] for line in lines if line[:2] == ["problem", "loading"]]
    assert len(problems) == 2, "torchvision and others are not blamed for torch"
    assert "torch cannot be loaded (OSError: libfake.so: not found); pip install" in problems[0]
    assert "mlflow cannot be loaded (SystemExit: no); pip install" in problems[1]
    left_out = {line[1] for line in lines if line[2].startswith("not checked: ")}
    assert left_out == {"processor", "threads", "store", "work", "speed"}
    assert any(line[:2] == ["ok", "data"] for line in lines)


@pytest.mark.parametrize(
    ("torch", "vision", "wanted", "words"),
    [
        ("2.11.0+cpu", "0.26.0+cpu", "==2.11.0", []),
        ("2.11.0", "0.26.0", "", []),
        ("2.11.0", "0.26.0+cu130", "==2.11.0", []),
        ("2.11.0+cpu", "0.26.0+cu130", "==2.11.0", ["cpu and cu130", "--force-reinstall"]),
        ("2.12.0+cpu", "0.26.0+cpu", "==2.11.0", ["needs torch==2.11.0", "--force-reinstall"]),
    ],
)
def test_a_torchvision_for_another_torch_is_named_with_the_remedy(torch, vision, wanted, words):
    problem = pair_problem(torch, vision, wanted)
    assert bool(problem) == bool(words)
    assert all(word in problem for word in words)


def test_versions_outside_the_ranges_are_named_with_the_remedy(monkeypatch):
    there = Requirement("numpy>=1")
    wrong, absent = Requirement("numpy<1"), Requirement("no-such-library>=1")
    assert outside(there) == ""
    assert "is outside <1; pip install 'numpy<1'" in outside(wrong)
    assert "pip install 'pfa-workbench[onnx]'" in outside(absent, "onnx")
    monkeypatch.setattr(library_versions, "requirements", lambda: [there, wrong, absent])
    lines = library_versions.versions()
    assert [line.name for line in lines if line.level == "problem"] == ["libraries", "libraries"]
    assert not usable(lines)


def test_a_check_that_fails_is_one_line():
    def fail():
        raise RuntimeError("of two\nlines")

    assert lines_of(Check("a", fail)) == [
        Line("problem", "a", "the check failed (RuntimeError: of two lines)")
    ]
    assert [line.level for line in lines_of(Check("a", fail, needed=False))] == ["note"]


def test_more_threads_than_processors_are_a_note(monkeypatch):
    monkeypatch.setattr(machine, "available_processors", lambda: 0)
    (line,) = machine.threads()
    assert line.level == "note"
    monkeypatch.setattr(machine, "available_processors", lambda: 10**6)
    (line,) = machine.threads()
    assert line.level == "ok"


def test_a_store_is_described_and_stays_as_it_is(tmp_path):
    path = tmp_path / "a/mlflow.db"
    uri = f"sqlite:///{path}"
    assert "does not exist yet" in store_state(uri).text
    assert not path.parent.exists()
    Store(uri).experiment("digits")
    found = store_state(uri)
    assert found.ready
    assert "can be written, 0 runs" in found.text
    with closing(sqlite3.connect(path)) as database, database:
        (current,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
        database.execute("UPDATE alembic_version SET version_num = '0584bdc529eb'")
    before = path.read_bytes()
    assert "older tables" in store_state(uri).text
    assert path.read_bytes() == before
    assert current != "0584bdc529eb"


def store_lines(uri):
    return [line for line in checks.examine(tracking_uri=uri) if line.name == "store"]


def test_a_store_that_cannot_be_used_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "speed", list)
    Path("text").write_text("no database")
    Path("newer.db").touch()
    Store("sqlite:///newer.db")
    with closing(sqlite3.connect("newer.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'of the future'")
    for uri, words in (
        ("sqlite:///text", "is not a SQLite database"),
        ("sqlite:///text/mlflow.db", "cannot be"),
        ("sqlite:///newer.db", "another MLflow"),
        ("http://127.0.0.1:9", "store http://127.0.0.1:9"),
    ):
        (line,) = store_lines(uri)
        assert (line.level, words in line.text) == ("problem", True), line


def test_a_store_on_a_network_file_system_is_a_note(monkeypatch):
    monkeypatch.setattr("workbench.store.shared_stores.network_file_system", lambda *a: "nfs4")
    monkeypatch.setattr(checks, "speed", list)
    Store()
    ready, note = store_lines(None)
    assert (ready.level, note.level) == ("ok", "note")
    assert "lies on a nfs4 file system" in note.text


def test_a_locked_store_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.store.store_state._LOCKED_SECONDS", 0.1)
    monkeypatch.setattr(checks, "speed", list)
    Store()
    with closing(sqlite3.connect("mlruns/mlflow.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        (line,) = store_lines(None)
    assert line.level == "problem"
    assert "locked" in line.text
