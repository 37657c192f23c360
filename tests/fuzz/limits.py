"""One call within limits of time and memory; what else than an error for users it raises."""

import signal
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import WorkbenchError

SECONDS = 5.0  # of processor time, which does not depend on what else the machine does
_WAITING = 60.0  # seconds after which a call that does not compute counts as hanging
BYTES = 1 << 30


class Hang(BaseException):
    """A call takes too long. No ``except Exception`` catches it."""


@dataclass(frozen=True)
class Fault:
    """What a mutant did to the workbench."""

    mutant: str
    what: str


def fault_of(mutant, call, allowed=(WorkbenchError,)):
    """Call a function; a ``Fault`` for a wrong exception, a hang or too much memory, else None.

    Args:
        mutant: name of the mutant, from which it can be made again.
        allowed: exceptions that say what is wrong.
    """
    before = _start_peak()
    what = ""
    try:
        with _limited():
            call()
    except allowed:
        pass
    except Hang as error:
        what = f"a hang ({_place(error)})"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is a fault
        what = f"{type(error).__name__}: {str(error)[:160]} ({_place(error)})"
    grown = _peak() - before
    if not what and grown > BYTES:
        what = f"took {grown / 2**20:.0f} MB"
    return Fault(mutant, what) if what else None


@contextmanager
def _limited():
    """Raise ``Hang`` when the block takes too long."""
    timers = ((signal.SIGPROF, signal.ITIMER_PROF, SECONDS),
              (signal.SIGALRM, signal.ITIMER_REAL, _WAITING))  # fmt: skip
    before = [signal.signal(number, _hang) for number, _, _ in timers]
    try:
        for _, timer, seconds in timers:
            signal.setitimer(timer, seconds)
        yield
    finally:
        for (number, timer, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def _hang(*_):
    raise Hang


def _place(error):
    """The last lines of the workbench's own code."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "/workbench/" in f.filename]
    return " > ".join(ours[-4:])


def _start_peak():
    """Forget the process's peak of memory, where the system can; return the peak from then on."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0
