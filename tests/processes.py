"""The real command line in a process of its own, for tests that interrupt it."""

import signal
import subprocess
import sys


def spawn(*args, cwd):
    """Start ``workbench`` with these arguments; Ctrl-C reaches it wherever the tests run."""
    return subprocess.Popen(
        [sys.executable, "-m", "workbench", *map(str, args)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=take_interrupts,
    )


def take_interrupts():
    """Let Ctrl-C reach a child process."""
    # Test runners that work in the background ignore SIGINT, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
