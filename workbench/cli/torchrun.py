"""A command that ``torchrun`` has started in several processes (``training.processes``)."""

from __future__ import annotations

import atexit
import os
import signal
import sys

TYPE_CHECKING = False  # importing typing would take longer than importing this module
if TYPE_CHECKING:
    from collections.abc import Callable


def is_started_by_torchrun() -> bool:
    """Whether this process is one of several that torchrun has started."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def run_in_first(command: Callable[[], int]) -> int:
    """Execute a command in the first process; the others help with its trainings.

    Returns:
        The exit status of this process.
    """
    ended: list[int] = []
    atexit.register(_end, ended)  # the first to be registered is the last to be called
    from workbench.training import processes

    if processes.join():
        try:
            status = command()
        finally:
            processes.leave()
    else:
        # A handler in Python would have to wait for the end of a call to another process.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        from workbench.training.following import follow

        follow()
        status = 0
    ended.append(status)
    return status


def _end(ended: list[int]) -> None:
    """End the process here after a command that has come to its end.

    Threads of gloo hold tensors, and a thread that needs Python while it shuts down aborts the
    process.
    """
    if ended:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(ended[0])
