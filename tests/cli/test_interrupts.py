"""Ctrl-C and SIGTERM end the command soon, with the right status, whatever it is doing."""

import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass

import pytest
from processes import take_interrupts

INTERRUPTED = "workbench: interrupted; run the same command again to continue\n"
#: What every child begins with; ``send`` also says when it sends.
PRELUDE = """
import os, signal, sys, time

def send(number=signal.SIGINT):
    print(f"sent {time.time()}", flush=True)
    os.kill(os.getpid(), number)

def send_at_import(module, number):
    class Sender:
        def find_spec(self, name, path=None, target=None):
            if name == module:
                sys.meta_path.remove(self)
                send(number)
    sys.meta_path.insert(0, Sender())

from workbench.cli import main
"""
#: Runs the function ``command`` as a command of the real command line.
COMMAND = """
from workbench.cli import commands
commands.app.command("test")(command)
sys.argv = ["workbench", "test"]
main()
"""
TRACE = """
def command():
    from torch import nn
    from workbench.compression.groups.tracing import find_structure
    layers = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)
    find_structure(nn.Sequential(*layers), (1, 8, 8))
    time.sleep(30)
"""


@dataclass(frozen=True)
class Ended:
    status: int
    said: list[str]
    err: str
    seconds: float


def run(*code, ignored=()):
    """Run a child: how it ended, and how many seconds after its last signal."""

    def prepare():
        take_interrupts()
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + "".join(textwrap.dedent(part) for part in code)],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=prepare,
    )
    now = time.time()
    lines = done.stdout.splitlines()
    sent = [float(line.split()[1]) for line in lines if line.startswith("sent ")]
    said = [line for line in lines if not line.startswith("sent ")]
    return Ended(done.returncode, said, done.stderr, now - sent[-1])


@pytest.mark.parametrize(
    ("number", "status", "told"), [("SIGINT", 130, INTERRUPTED), ("SIGTERM", 143, "")]
)
@pytest.mark.parametrize("module", ["workbench.cli.commands", "typer", "workbench.errors"])
def test_while_the_program_is_loaded(module, number, status, told):
    ended = run(f"send_at_import('{module}', signal.{number})\nsys.argv = ['', '-h']\nmain()\n")
    assert (ended.status, ended.said, ended.err) == (status, [], told)
    assert ended.seconds < 2


@pytest.mark.parametrize(
    ("module", "number", "status", "told"),
    [
        ("torch", "SIGINT", 130, INTERRUPTED),
        ("torch_pruning", "SIGINT", 130, INTERRUPTED),
        ("timm", "SIGINT", 130, INTERRUPTED),
        ("timm", "SIGTERM", 143, ""),
    ],
)
def test_while_a_library_is_loaded_that_swallows_it(module, number, status, told):
    if module == "timm":
        pytest.importorskip("timm")
    ended = run(f"send_at_import('{module}', signal.{number})\n", TRACE, COMMAND)
    assert (ended.status, ended.said, ended.err) == (status, [], told)
    assert ended.seconds < 2


def test_where_it_is_swallowed_again_and_again():
    ended = run(
        """
        def command():
            send()
            while True:
                try:
                    time.sleep(0.05)
                except BaseException:
                    pass
        """,
        COMMAND,
    )
    assert (ended.status, ended.err) == (130, INTERRUPTED)
    assert ended.seconds < 2


def test_in_a_finalizer_which_loses_it():
    ended = run(
        """
        class Thing:
            def __del__(self):
                send()

        def command():
            Thing()
            time.sleep(30)
        """,
        COMMAND,
    )
    assert (ended.status, ended.err) == (130, INTERRUPTED)
    assert ended.seconds < 2


def test_where_it_becomes_another_error():
    ended = run(
        """
        def command():
            try:
                send()
                time.sleep(30)
            except BaseException:
                raise ValueError("half an import") from None
        """,
        COMMAND,
    )
    assert (ended.status, ended.err) == (130, INTERRUPTED)


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_a_cleanup_that_takes_longer_is_not_cut_off(times):
    ended = run(
        f"""
        from contextlib import contextmanager

        @contextmanager
        def closing():
            try:
                yield
            except (KeyboardInterrupt, SystemExit):
                for _ in range({times} - 1):  # what starts a command may hand the signal on
                    send()
                end = time.monotonic() + 2.2
                while time.monotonic() < end:
                    time.sleep(0.01)
                print("cleaned up", flush=True)
                raise

        def command():
            with closing():
                send()
                time.sleep(30)
        """,
        COMMAND,
    )
    assert (ended.status, ended.said, ended.err) == (130, ["cleaned up"], INTERRUPTED)


def test_a_second_one_ends_a_cleanup_that_hangs():
    ended = run(
        """
        def command():
            try:
                send()
                time.sleep(30)
            finally:
                time.sleep(1.3)
                send()
                time.sleep(30)
        """,
        COMMAND,
    )
    assert (ended.status, ended.err) == (130, INTERRUPTED)
    assert ended.seconds < 1


def test_a_thread_that_does_not_end_is_not_waited_for():
    ended = run(
        """
        def command():
            import threading
            threading.Thread(target=time.sleep, args=(30,)).start()
            send(signal.SIGTERM)
            time.sleep(30)
        """,
        COMMAND,
    )
    assert (ended.status, ended.err) == (143, "")
    assert ended.seconds < 2


def test_the_status_holds_where_code_in_c_has_seen_it():
    ended = run(
        """
        def command():
            import ctypes
            try:
                send()
                time.sleep(30)
            finally:
                ctypes.c_int.in_dll(ctypes.pythonapi, "_Py_UnhandledKeyboardInterrupt").value = 1
        """,
        COMMAND,
    )
    assert (ended.status, ended.err) == (130, INTERRUPTED)


def test_when_the_command_is_over():
    ended = run(
        """
        import atexit

        def late():
            send()
            time.sleep(30)

        def command():
            atexit.register(late)
            print("result")
        """,
        COMMAND,
    )
    assert (ended.status, ended.said) == (130, ["result"])
    assert "Traceback" not in ended.err
    assert ended.seconds < 1


def test_a_background_job_goes_on_ignoring_it():
    ended = run("def command():\n    send()\n", COMMAND, ignored=[signal.SIGINT])
    assert (ended.status, ended.err) == (0, "")
