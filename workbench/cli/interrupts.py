"""Ctrl-C and SIGTERM end a command within two seconds at any point of its work.

The handler raises KeyboardInterrupt or SystemExit, so that runs are marked KILLED before the
process ends. Libraries sometimes lose such exceptions: torch-pruning imports timm inside a bare
``except:``, and Python ignores exceptions raised in a ``__del__``. A timer therefore calls the
handler again every tenth of a second. The handler raises again unless an ``except``, ``finally``
or ``with`` is handling the exception, and ends the process if raising does not help.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from contextlib import suppress
from types import FrameType

from workbench.store.deferred_signals import is_interrupted

TYPE_CHECKING = False  # importing typing would take longer than importing this module
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_TICK = 0.1  # seconds between two calls of the handler
_LOST = 0.9  # seconds after which the process ends if the exception is lost every time
_CLEANUP = 10.0  # seconds for marking runs in a store and for stopping the MLflow UI
_EXIT = 0.5  # seconds for functions registered with atexit
_AGAIN = 1.0  # seconds; a later signal ends the process immediately, an earlier one is a duplicate
_MESSAGE = "workbench: interrupted; run the same command again to continue\n"


class _State:
    """The state that the signal handler and ``run`` share.

    Attributes:
        number: the first signal; 0 before any signal.
        since: time of the first signal, later of the command's end, on the monotonic clock.
        ending: whether the command has ended, so that nothing is left to clean up.
        told: whether the message about the interruption has been printed.
    """

    number = 0
    since = 0.0
    ending = False
    told = False


_state = _State()


def run(command: Callable[[], int]) -> NoReturn:
    """Call a command and end the process with its exit status, or 130 or 143 after a signal."""
    status: Any = 1
    try:
        try:
            _install()
            status = command()
        finally:
            _state.ending = True  # must come first: a call here could receive a signal
    except BaseException as error:
        if not _state.number and not isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        status = error.code if isinstance(error, SystemExit) else 128 + signal.SIGINT
    if _state.number:
        # Ignore how the command ended: an exception lost during an import makes other code fail.
        status = 128 + _state.number
    if status == 128 + signal.SIGINT:
        _state.told = True
        with suppress(OSError):  # stderr may be full or no longer read
            print(_MESSAGE, end="", file=sys.stderr)
    _state.since = time.monotonic()
    if _state.number:
        # A normal exit waits for threads, and Python kills itself by SIGINT after a C library has
        # seen a KeyboardInterrupt. Functions registered with atexit still run, so that temporary
        # folders are removed.
        atexit._run_exitfuncs()
        _exit_at_once()
    sys.exit(status)


def _install() -> None:
    global _state
    _state = _State()
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup, or in the background
            signal.signal(number, _on_signal)
    show = sys.unraisablehook

    def hide_interrupts(unraisable: Any) -> None:
        lost = isinstance(unraisable.exc_value, (KeyboardInterrupt, SystemExit))
        if not (_state.number and lost):
            show(unraisable)

    sys.unraisablehook = hide_interrupts


def _on_signal(number: int, frame: FrameType | None) -> None:
    """Raise, wait or end the process, at the first signal, at later ones and at each tick."""
    first = not _state.number
    if first:
        _state.number, _state.since = number, time.monotonic()
        signal.signal(signal.SIGALRM, _on_signal)
        signal.setitimer(signal.ITIMER_REAL, _TICK, _TICK)
    passed = time.monotonic() - _state.since
    handled = is_interrupted()
    limit = _EXIT if _state.ending else _CLEANUP if handled else _LOST
    again = number != signal.SIGALRM and passed > _AGAIN
    if passed > limit or again or (first and _state.ending):
        _exit_at_once()
    if first or not (handled or _state.ending):
        raise _exception()


def _exception() -> BaseException:
    if _state.number == signal.SIGINT:
        return KeyboardInterrupt()
    return SystemExit(128 + _state.number)


def _exit_at_once() -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # the stream may be closed or in the middle of a write
            stream.flush()
    if _state.number == signal.SIGINT and not _state.told:
        with suppress(OSError):
            os.write(2, _MESSAGE.encode())
    os._exit(128 + _state.number)
