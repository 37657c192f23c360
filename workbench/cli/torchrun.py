"""A command that ``torchrun`` has started in several processes (``training.processes``)."""

from __future__ import annotations

import os
import signal

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
    from workbench.training import processes

    if processes.join():
        try:
            return command()
        finally:
            processes.leave()
    from workbench.training.following import follow

    # A handler in Python would have to wait for the end of a call to another process.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    follow()
    return 0
