"""Ctrl-C and SIGTERM wait until a call of the store has ended.

Python raises KeyboardInterrupt between any two of its instructions, also inside SQLAlchemy and
inside a file lock. A transaction that is interrupted there is sometimes not rolled back, because
SQLAlchemy rejects a rollback in the middle of a change of its own state. The connection then keeps
the lock of a SQLite file, and the process cannot even record that its run was interrupted.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

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
        self._before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}

    def begin(self) -> None:
        for number, handler in self._before.items():
            if callable(handler):  # other signals are ignored, or end the process at once
                signal.signal(number, self._on_signal)

    def end(self) -> None:
        # A restored handler may raise at once; until then, a signal may start the timer.
        try:
            try:
                self._restore(signal.SIGTERM)
            finally:
                self._restore(signal.SIGINT)
        finally:
            if self._timer:
                self._timer.cancel()

    def _restore(self, number: signal.Signals) -> None:
        if callable(self._before[number]):
            signal.signal(number, self._before[number])

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
            handler = self._before[signal.Signals(number)]
            assert callable(handler)
            handler(number, frame)


@contextmanager
def deferred() -> Iterator[None]:
    """Delay SIGINT and SIGTERM to the end of the outermost block, for a second at most.

    Signals are handled in the main thread; in other threads this does nothing. After an interrupt,
    while the caller still handles its exception, signals are not delayed: another one is meant to
    end the process.
    """
    elsewhere = threading.current_thread() is not threading.main_thread()
    if elsewhere or _is_deferred() or is_interrupted():
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


def is_interrupted() -> bool:
    """Whether the caller is handling a KeyboardInterrupt or SystemExit, directly or in a chain."""
    error = sys.exception()
    while error is not None:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            return True
        error = error.__context__
    return False


def _is_deferred() -> bool:
    handlers = (signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM))
    return any(isinstance(getattr(each, "__self__", None), _Waiting) for each in handlers)
