"""Fixtures of several files about adaptations."""

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def at_home(home, monkeypatch, run_cli):
    """A folder with a trained source network."""
    monkeypatch.chdir(home)
    if not Path("source.safetensors").exists():
        status, _, err = run_cli("train", "--source", "digits", "--epochs", 2, "--schedule",
                                 "one-cycle", "--out", "source.safetensors")  # fmt: skip
        assert status == 0, err
    return home
