"""The progress of a command as a file that another program reads."""

import json

import pytest

from workbench.training import progress_file
from workbench.training.progress import Display


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A display that writes the file; returns (display, function that reads it)."""
    path = tmp_path / "progress.json"
    monkeypatch.setenv("WORKBENCH_PROGRESS", str(path))
    monkeypatch.setattr(progress_file, "_EVERY", 0.0)
    return Display(quiet=False), lambda: json.loads(path.read_text())


def test_it_holds_the_task_and_the_lines(state):
    display, read = state
    display.say("first\x1b[31m")
    with display.track("training", 4) as advance:
        advance(1.5, "loss 2.0")
        assert read() == {
            "task": {"title": "training", "done": 1.5, "total": 4, "note": "loss 2.0"},
            "finished": 0,
            "lines": [r"first\x1b[31m"],
        }
    assert (read()["task"], read()["finished"]) == (None, 1)


def test_a_task_within_a_task_gives_it_back(state):
    display, read = state
    with display.track("outer", 2), display.track("inner", 2):
        assert read()["task"]["title"] == "inner"
    with display.track("outer", 2):
        with display.track("inner", 2):
            pass
        assert read()["task"]["title"] == "outer"
    assert (read()["task"], read()["finished"]) == (None, 4)


def test_it_never_grows(state):
    display, read = state
    for number in range(100):
        display.say(f"line {number}")
    assert read()["lines"] == [f"line {number}" for number in range(70, 100)]


def test_steps_are_written_now_and_then_but_the_last_one_always(state, monkeypatch):
    display, read = state
    monkeypatch.setattr(progress_file, "_EVERY", 1000.0)
    with display.track("training", 3) as advance:
        advance(1, "")
        assert read()["task"]["done"] == 0
        advance(3, "")
        assert read()["task"]["done"] == 3


def test_a_file_that_cannot_be_written_does_not_stop_the_work(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_PROGRESS", str(tmp_path / "missing/progress.json"))
    display = Display(quiet=False)
    with display.track("training", 1) as advance:
        advance(1, "")


def test_a_quiet_display_writes_none(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_PROGRESS", str(tmp_path / "progress.json"))
    with Display().track("training", 1) as advance:
        advance(1, "")
    assert list(tmp_path.iterdir()) == []
