"""``--quiet``, ``NO_COLOR``, ``FORCE_COLOR``, and the live display on a terminal."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from workbench.cli.console import open_display

NETWORK = ("--source", "digits", "--schedule", "one-cycle", "--source-epochs", "1")
SHORT = (*NETWORK, "--epochs", "1", "--batch-size", "64")
TARGET = ("--target", "digits-0v1")
COMMANDS = {
    "analyze": (*NETWORK, *TARGET),
    "adapt": (*SHORT, *TARGET, "--protocols", "full-fine,pfa-fine"),
    "train": ("--source", "digits", "--schedule", "one-cycle", "--epochs", "1", "--out", "s.pt"),
    "shrink": (*SHORT, *TARGET, "--recipes", "uniform", "--budgets", "0.4", "--rungs", "1"),
    "bench": (*SHORT, *TARGET, "--methods", "uniform", "--footprints", "0.4"),
    "reproduce": ("figure4", *SHORT, "--domains", "digits-0v1", "--model", "simplecnn"),
}
RESULTS = {
    "analyze": "energy kept", "adapt": "pfa-fine", "train": "% test accuracy",
    "shrink": "test images", "bench": ": written", "reproduce": ": written",
}  # fmt: skip
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9\d)[;m]")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One folder, so that the source network is trained once."""
    return tmp_path_factory.mktemp("quiet")


@pytest.mark.parametrize("option", ["--quiet", "-q"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_quiet_command_prints_its_result_only(run_cli, shared, monkeypatch, command, option):
    monkeypatch.chdir(shared)
    words = COMMANDS[command]
    if command == "train":
        words = (*words[:-1], f"s{option}.safetensors")
    status, out, err = run_cli(command, *words, option)
    assert (status, err) == (0, "")
    assert RESULTS[command] in out


@pytest.mark.parametrize("command", COMMANDS)
def test_a_quiet_command_prints_its_errors(run_cli, command):
    status, out, err = run_cli(command, *COMMANDS[command], "-q", "--device", "abacus")
    assert (status, out) == (2, "")
    assert "--device: unknown value 'abacus'" in err
    assert len(err.splitlines()) == 1


def test_a_quiet_display_prints_warnings(capsys):
    display = open_display(quiet=True)
    display.say("warning: one file is damaged")
    display.say("found in the store")
    assert capsys.readouterr() == ("", "warning: one file is damaged\n")


@pytest.mark.parametrize("variable", ["", "NO_COLOR", "FORCE_COLOR"])
@pytest.mark.parametrize("terminal", [True, False])
def test_colours_follow_the_environment(run_cli, shared, monkeypatch, variable, terminal):
    monkeypatch.chdir(shared)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda stream: terminal)
    status, out, err = run_cli("analyze", *COMMANDS["analyze"])
    assert status == 0, err
    if variable == "NO_COLOR":
        assert not COLOUR.search(out + err)
    styled = "\x1b[" in out
    assert styled == (terminal or variable == "FORCE_COLOR")
    if not terminal:
        assert "\x1b[1A" not in err, "a file is no terminal, whatever FORCE_COLOR says"


SCRIPT = """
import time
from workbench.training.progress import Display
from workbench.training.time_left import TRAINING, PlannedStep
display = Display(quiet=False)
steps = [PlannedStep("one", {TRAINING: 1.0}), PlannedStep("two", {TRAINING: 3.0})]
with display.plan(steps) as plan:
    for name, work in (("one " + 90 * "x", 1.0), ("two", 3.0)):
        with plan.step(), display.track(name, 2, lambda: work) as advance:
            for epoch in (1, 2):
                time.sleep(0.4)
                advance(epoch, "loss 0.1")
    display.say("warning: a line above the bar")
"""


def on_terminal(columns, **environment):
    """What the script writes to a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    env = {**kept, "TERM": "xterm-256color", **environment}
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stderr=theirs, env=env) as process:
        os.close(theirs)
        written = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            written += part
        os.close(ours)
    assert process.returncode == 0, written.decode()
    return written.decode()


@pytest.mark.parametrize(("columns", "environment"), [(60, {"NO_COLOR": "1"}), (80, {})])
def test_a_terminal_has_one_live_display(columns, environment):
    written = on_terminal(columns, **environment)
    assert bool(COLOUR.search(written)) == (not environment)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    lines = [line.strip("\r") for line in plain.replace("\r", "\n").split("\n") if line.strip()]
    drawn = [line for line in lines if " % · " in line]
    shares = [int(re.search(r"(\d+) % · ", line)[1]) for line in drawn]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert {12, 25, 62} <= set(shares)
    assert any(re.search(r" 62 % · \d s · about \d s left$", line) for line in drawn)
    moving = [line for line in lines if "two" in line or " % · " in line]
    assert max(map(len, moving)) <= columns
    assert "warning: a line above the bar" in plain


def test_a_dumb_terminal_gets_lines():
    written = on_terminal(80, TERM="dumb")
    assert "\x1b" not in written
    assert "two: 2/2 loss 0.1; all steps: 100 %" in written
