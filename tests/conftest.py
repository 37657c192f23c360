"""Fixtures that every test file may use."""

import sys

import pytest

from workbench.cli import main


@pytest.fixture(autouse=True)
def _clean_surroundings(monkeypatch, tmp_path):
    """Each test runs in a folder of its own, without the caller's settings."""
    for name in ("WORKBENCH_DOMAINS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run_cli(monkeypatch, capsys):
    """Run the real command line in this process: (exit status, stdout, stderr)."""

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["workbench", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run
