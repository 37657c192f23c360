"""End the fork server with its driver. Only the server imports this module, as the last one.

The server has the driver's standard streams, and Python needs seconds to free all libraries. A
caller that reads the driver's output to its end would wait for that. So the server closes the
streams, and ends at once when its driver is gone.
"""

from __future__ import annotations

import atexit
import os


def _leave() -> None:
    os._exit(0)


def forget() -> None:
    """In a forked process: end as usual."""
    atexit.unregister(_leave)


atexit.register(_leave)
_nowhere = os.open(os.devnull, os.O_WRONLY)
for _stream in (1, 2):
    os.dup2(_nowhere, _stream)
