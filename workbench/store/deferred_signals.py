"""Ctrl-C and SIGTERM wait until a call of the store has ended.

Python raises KeyboardInterrupt between any two of its instructions, also inside SQLAlchemy. A
transaction that is interrupted there is sometimes not rolled back, because SQLAlchemy rejects a
rollback in the middle of a change of its own state. The connection then keeps the lock of a SQLite
file, and the process cannot even record that its run was interrupted.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LONGEST = 1.0  # seconds that a signal waits: a server may not answer at all


class _Waiting:
    """Handlers that remember the first signal, and pass signals on once it has waited too long.

    Attributes:
        number: the signal that waits; 0 if none does.
    """

    def __init__(self) -> None:
        self.number = 0
        self._until = 0.0
        self._timer: threading.Timer | None = None
        found = {number: signal.getsignal(number) for number in _SIGNALS}
        # Other signals are ignored, or end the process at once.
        self._handlers = {int(number): each for number, each in found.items() if callable(each)}

    def begin(self) -> None:
        for number in self._handlers:
            signal.signal(number, self._on_signal)

    def end(self) -> None:
        if self._timer:
            self._timer.cancel()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.number:
            self.number, self._until = number, time.monotonic() + _LONGEST
            main = threading.main_thread().ident  # a read from a socket there must be interrupted
            self._timer = threading.Timer(_LONGEST, signal.pthread_kill, [main, number])
            self._timer.daemon = True
            self._timer.start()
        elif time.monotonic() >= self._until:
            self.number = 0
            self.end()
            self._handlers[number](number, frame)


@contextmanager
def deferred() -> Iterator[None]:
    """Delay SIGINT and SIGTERM to the end of the block, for a second at most.

    Signals are handled in the main thread; in other threads this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting = _Waiting()
    try:
        waiting.begin()
        yield
    finally:
        waiting.end()
        if waiting.number:
            signal.raise_signal(waiting.number)
