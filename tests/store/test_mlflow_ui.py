"""``workbench ui``: starts, answers, and leaves nothing running."""

import os
import signal
import subprocess
import urllib.request

from processes import spawn

from workbench.store.mlflow_store import Store


def test_it_prints_its_address_answers_there_and_ends_cleanly(tmp_path):
    Store(f"sqlite:///{tmp_path}/mlruns/mlflow.db").experiment("digits")
    process = spawn("ui", cwd=tmp_path)
    line = process.stdout.readline()
    address = line.split()[2]
    assert address.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(address.split("#")[0], timeout=20) as page:
        assert b"<html" in page.read().lower()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not any("mlflow server" in row and str(tmp_path) in row for row in left.splitlines())
    assert not os.path.exists(f"/proc/{process.pid}")


def test_without_a_store_it_says_what_to_do(run_cli):
    status, _, err = run_cli("ui")
    assert (status, err.count("\n")) == (2, 1)
    assert "run 'workbench adapt' first" in err


def test_a_server_has_a_ui_of_its_own(run_cli):
    status, out, _ = run_cli("ui", "--tracking-uri", "http://127.0.0.1:9")
    assert (status, "http://127.0.0.1:9" in out) == (0, True)
