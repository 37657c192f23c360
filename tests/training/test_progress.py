"""Progress in a log: plain lines, time left, and signs of life while nothing else is printed."""

import json
import time
from io import StringIO

import pytest
from rich.console import Console

from workbench.errors import SettingsError
from workbench.training import progress
from workbench.training.live_display import LiveDisplay
from workbench.training.overall_progress import Overall
from workbench.training.progress import Display
from workbench.training.time_left import TRAINING, PlannedStep, duration


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


STEPS = [PlannedStep("one", {TRAINING: 100.0}), PlannedStep("two", {TRAINING: 300.0})]


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def execute(display, clock):
    """A plan of two steps with one task each, at 10 units of work a second."""
    with display.plan(STEPS) as plan:
        for number, work in enumerate((100.0, 300.0)):
            with plan.step(), display.track(f"task {number}", 4, lambda w=work: w) as advance:
                for epoch in range(1, 5):
                    clock[0] += work / 40
                    advance(epoch, f"loss 0.{epoch}")


def test_lines_of_a_plan_have_the_state_of_the_whole(clock, capsys):
    execute(Display(quiet=False), clock)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "task 0: 4/4 loss 0.4; all steps: 25 %, about 30 s left"
    assert lines[1] == "task 1: 2/4 loss 0.2; all steps: 62 %, about 15 s left"
    assert lines[-1] == "task 1: 4/4 loss 0.4; all steps: 100 %"


def read_records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("quiet", [True, False])
@pytest.mark.parametrize("by", ["argument", "variable"])
def test_progress_for_programs_is_one_json_line_each(
    clock, capsys, tmp_path, monkeypatch, quiet, by
):
    path = tmp_path / "progress.jsonl"
    if by == "variable":
        monkeypatch.setenv("WORKBENCH_PROGRESS_FILE", str(path))
    display = Display(quiet=quiet, records=path if by == "argument" else None)
    execute(display, clock)
    display.say("a last line")
    found = read_records(path)
    assert all(set(each) == {"done", "seconds_left", "step", "message"} for each in found)
    done = [each["done"] for each in found]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0.0, 1.0)
    assert found[0]["seconds_left"] is None
    middle = next(each for each in found if each["message"] == "loss 0.2" and each["done"] > 0.5)
    assert middle["step"] == "task 1"
    assert middle["seconds_left"] == pytest.approx(15.0)
    assert found[-1]["message"] == "a last line"
    assert (capsys.readouterr().err == "") == quiet


def test_work_beside_a_task_prints_its_lines_and_leaves_the_progress_alone(clock, capsys, tmp_path):
    path = tmp_path / "progress.jsonl"
    display = Display(quiet=False, records=path)
    with display.plan(STEPS) as plan, plan.step(), display.track("cells", 4, lambda: 100.0) as go:
        go(2, "")
        clock[0] += 10
        with display.aside():
            assert not display.is_watched
            execute(display, clock)
            display.say("a line")
        go(3, "")
    assert "a line" in capsys.readouterr().err.splitlines()
    found = read_records(path)
    assert {each["step"] for each in found} == {"", "one", "cells"}
    assert next(each["done"] for each in found if each["message"] == "a line") == 0.125


def test_records_that_cannot_be_written_are_one_clear_line(tmp_path):
    display = Display(records=tmp_path / "none" / "progress.jsonl")
    with pytest.raises(SettingsError, match="cannot be written"):
        display.say("a line")


def test_a_task_without_a_plan_is_the_whole(clock, tmp_path):
    path = tmp_path / "progress.jsonl"
    with Display(records=path).track("alone", 4) as advance:
        clock[0] += 3
        advance(1, "")
    found = read_records(path)
    assert {"done": 0.25, "seconds_left": 9.0, "step": "alone", "message": ""} in found
    assert found[-1]["done"] == 1.0


def test_work_that_fails_is_not_reported_as_done(tmp_path, clock):
    display = Display(records=tmp_path / "progress.jsonl")
    with pytest.raises(ValueError), display.plan(STEPS) as plan, plan.step():  # noqa: PT011
        raise ValueError
    assert read_records(tmp_path / "progress.jsonl")[-1]["done"] == 0.0


def test_warnings_are_printed_where_progress_is_not(capsys):
    display = Display(quiet=True, warnings=True)
    display.say("a remark")
    display.say("warning: a warning")
    with display.track("task", 1) as advance:
        advance(1, "")
    assert capsys.readouterr().err == "warning: a warning\n"


def test_work_that_ends_early_is_done(tmp_path, clock):
    """A search whose time is over leaves steps out."""
    display = Display(records=tmp_path / "progress.jsonl")
    with display.plan(STEPS) as plan, plan.step():
        pass
    done = [each["done"] for each in read_records(tmp_path / "progress.jsonl")]
    assert done[-2:] == [0.25, 1.0]


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_a_narrow_terminal_shows_the_time_left_and_then_the_bar(columns):
    console = Console(width=columns, force_terminal=True, color_system=None, file=StringIO())
    overall = Overall()
    overall.push([PlannedStep("", {TRAINING: 1.0})])
    overall.limit(3600)
    overall.begin_step()
    overall.begin_task("full-fine · a domain with a very long name", 10, 1.0, TRAINING)
    with console.capture() as capture:
        console.print(LiveDisplay(console, overall)._picture())
    first, second = capture.get().splitlines()
    assert "left" in first
    assert "full-fine" in second
    assert max(len(first), len(second)) <= columns
