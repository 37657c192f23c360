"""Ctrl-C and SIGTERM end a command within two seconds, whatever it is doing.

The handler raises KeyboardInterrupt or SystemExit, so that runs are marked KILLED on the way
out. Libraries lose such exceptions: torch-pruning imports timm inside a bare ``except:``, and
Python drops what is raised in a ``__del__``. A timer therefore looks again every tenth of a
second. It raises anew unless some ``except``, ``finally`` or ``with`` is just handling the
exception, and ends the process where raising does not help.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from contextlib import suppress
from types import FrameType

TYPE_CHECKING = False  # typing itself takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_TICK = 0.1  # seconds between two looks
_LOST = 1.5  # seconds after which an exception that is lost again and again is given up
_CLEANUP = 10.0  # seconds for marking runs in a store and for stopping the MLflow UI
_EXIT = 0.5  # seconds for what is registered by atexit
_AGAIN = 1.0  # a second Ctrl-C ends the process at once; a doubled one is the same
_MESSAGE = "workbench: interrupted; the same command goes on from here\n"


class _State:
    """What was asked of this process; the handler and ``run`` share it.

    Attributes:
        number: the first signal, 0 before there is one.
        since: when it came, then when the command was over, by the monotonic clock.
        ending: whether the command is over, so that nothing is left to clean up.
        told: whether the user has read that it was interrupted.
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
            _state.ending = True  # no call before it: a signal would be handled there
    except BaseException as error:
        if not _state.number and not isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        status = error.code if isinstance(error, SystemExit) else 128 + signal.SIGINT
    if _state.number:
        # Whatever came of it: a lost exception leaves half an import, which fails elsewhere.
        status = 128 + _state.number
    if status == 128 + signal.SIGINT:
        _state.told = True
        print(_MESSAGE, end="", file=sys.stderr)
    _state.since = time.monotonic()
    if _state.number:
        # Python's own end waits for threads, and dies of SIGINT where a library in C has seen a
        # KeyboardInterrupt. What is registered still runs: temporary folders go.
        atexit._run_exitfuncs()
        _exit_at_once()
    sys.exit(status)


def _install() -> None:
    global _state
    _state = _State()
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, a shell's background job
            signal.signal(number, _on_signal)
    show = sys.unraisablehook

    def hide_interrupts(unraisable: Any) -> None:
        lost = isinstance(unraisable.exc_value, (KeyboardInterrupt, SystemExit))
        if not (_state.number and lost):
            show(unraisable)

    sys.unraisablehook = hide_interrupts


def _on_signal(number: int, frame: FrameType | None) -> None:
    """Raise, wait or end the process: at the first signal, the next ones, and each tick."""
    first = not _state.number
    if first:
        _state.number, _state.since = number, time.monotonic()
        signal.signal(signal.SIGALRM, _on_signal)
        signal.setitimer(signal.ITIMER_REAL, _TICK, _TICK)
    passed = time.monotonic() - _state.since
    handled = _is_handled()
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


def _is_handled() -> bool:
    """Whether the interrupted code runs because of the exception that was raised here."""
    error = sys.exception()
    while error is not None:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            return True
        error = error.__context__
    return False


def _exit_at_once() -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # it may be closed, or just being written to
            stream.flush()
    if _state.number == signal.SIGINT and not _state.told:
        os.write(2, _MESSAGE.encode())
    os._exit(128 + _state.number)
