"""Progress in a log: plain lines, time left, and signs of life while nothing else is printed."""

import time

import pytest

from workbench.training import progress
from workbench.training.progress import Display
from workbench.training.time_left import duration


@pytest.fixture
def hasty(monkeypatch):
    """Signs of life come after a fraction of a second."""
    monkeypatch.setattr(progress, "_LOOK_EVERY", 0.02)
    monkeypatch.setattr(progress, "_FIRST_SIGN", 0.1)
    monkeypatch.setattr(progress, "_LATER_SIGNS", 0.2)


def test_what_takes_long_gives_signs_of_life(hasty, capsys):
    display = Display(quiet=False)
    with display.track("source · digits", 4):
        time.sleep(0.8)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 6
    assert all(line == "source · digits: still working, 0 s so far" for line in lines[:1])


def test_a_sign_of_life_outside_a_task_names_no_task(hasty, capsys):
    display = Display(quiet=False)
    time.sleep(0.4)
    del display
    assert capsys.readouterr().err.splitlines()[0] == "still working, 0 s so far"


def test_a_line_of_its_own_is_a_sign_of_life(hasty, capsys):
    display = Display(quiet=False)
    for _ in range(8):
        display.say("a line")
        time.sleep(0.05)
    assert "still working" not in capsys.readouterr().err


def test_the_watching_ends_with_its_display(hasty, capsys):
    display = Display(quiet=False)
    display.say("a line")
    del display
    time.sleep(0.5)
    assert capsys.readouterr().err == "a line\n"


def test_a_quiet_display_prints_nothing(hasty, capsys):
    display = Display()
    with display.track("a task", 2) as advance:
        advance(1, "note")
        time.sleep(0.3)
    assert capsys.readouterr() == ("", "")


def test_time_left_follows_from_what_this_call_did(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    display = Display(quiet=False)
    with display.track("task", 10) as advance:
        advance(4, "")  # resumed in its middle
        now[0] = 20.0
        advance(5, "loss 1.0")
        now[0] = 25.0
        advance(5.5, "epoch 6, step 1 of 2")  # less than ten seconds later: no line
        now[0] = 40.0
        advance(6, "loss 0.9")
    assert capsys.readouterr().err.splitlines() == [
        "task: 5/10 loss 1.0, about 1 min 40 s left",
        "task: 6/10 loss 0.9, about 1 min 20 s left",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7260, "2 h 1 min")],
)
def test_durations_are_readable(seconds, text):
    assert duration(seconds) == text
