"""Standard streams that are closed, full or no longer read, in processes of their own.

Those that need torch or MLflow are forked from one that has loaded them.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import warm_processes

ADAPT = (
    "adapt --source digits --target digits-0v1 --schedule one-cycle --source-epochs 1 --epochs 1 "
    "--protocols full-fine"
)


TRAINING = pytest.param(f"{ADAPT} --json", marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("streams")


@pytest.fixture
def shell(folder, run_cli, monkeypatch, warm):
    """Run a line of bash in a folder with a finished adaptation: (exit status, stdout, stderr)."""
    monkeypatch.chdir(folder)
    if not (folder / "mlruns").exists():
        assert run_cli(*ADAPT.split())[0] == 0
    program = f"{sys.executable} -ES {warm_processes.__file__} {warm.start()}"
    return lambda line: bash(line, program)


def bash(line, program=f"{sys.executable} -m workbench"):
    line = line.replace("workbench", program)
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=100)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_new_process_without_streams_does_its_work(closed):
    assert bash(f"workbench domains new pets --source digits --classes 3,8 {closed}")[0] == 0
    assert Path("domains/pets.yaml").read_text().count("name: pets") == 1


def test_without_stdout_a_command_does_its_work(shell):
    status, _, err = shell(f"workbench {ADAPT} >&-")
    lines = [line for line in err.splitlines() if "still working" not in line]  # a busy machine
    assert (status, lines[1:]) == (
        0,
        ["nothing to train: every protocol of this adaptation is already recorded"],
    )


@pytest.mark.parametrize("stderr", ["2>&-", pytest.param("2>/dev/full", marks=pytest.mark.slow)])
def test_without_stderr_the_result_is_whole(shell, stderr):
    status, out, _ = shell(f"workbench {ADAPT} --json {stderr}")
    assert status == 0
    assert json.loads(out)["trained"] == 0


@pytest.mark.slow
def test_without_any_stream_a_command_does_its_work(shell, folder):
    assert shell(f"workbench {ADAPT} <&- >&- 2>&-")[0] == 0
    assert (folder / "mlruns" / "mlflow.db").read_bytes().startswith(b"SQLite format 3")


@pytest.mark.parametrize("command", ["compare", TRAINING, "--version", "--help"])
def test_a_full_stdout_is_one_line(shell, command):
    run = bash if command.startswith("-") else shell
    status, _, err = run(f"workbench {command} >/dev/full")
    assert status == 1
    assert err.splitlines()[-1] == (
        "workbench: stdout: the disk is full; the output is not complete"
    )
    assert "Traceback" not in err


def test_a_mistake_has_its_status_where_it_cannot_be_told(shell):
    assert shell("workbench export 000 2>/dev/full")[0] == 2


@pytest.mark.parametrize("command", ["compare", TRAINING])
def test_a_reader_that_ends_early_ends_the_command_quietly(shell, command):
    status, _, err = shell(f"workbench {command} | true; exit ${{PIPESTATUS[0]}}")
    assert status == 1
    assert "Error" not in err
    assert "Traceback" not in err
