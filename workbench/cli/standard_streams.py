"""Standard streams that are closed, full or no longer read."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from workbench.errors import OutputError


def open_missing_streams() -> None:
    """Open the standard streams that the caller closed on ``os.devnull``.

    Otherwise the next file that is opened, such as a database, would get the number of a standard
    stream, and text of C libraries would be written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            _open_devnull(number)
        if getattr(sys, name) is None:  # Python found the number closed
            setattr(sys, name, _stream(number))


@contextmanager
def checked_stdout() -> Iterator[None]:
    """Raise an OutputError when text cannot be written to stdout, whoever writes it.

    When the reader of a pipe has ended, the BrokenPipeError remains: ``typer`` and ``rich`` end
    the command quietly.
    """
    stream = sys.stdout
    checked: Any = _CheckedStream(stream)
    sys.stdout = checked
    try:
        yield
    finally:
        sys.stdout = stream


class _CheckedStream:
    """A stream that explains why it cannot be written, and fails from then on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._error: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._explained():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._explained():
            self._stream.flush()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        if self._error:  # a library ignored it
            raise self._error
        try:
            yield
        except OSError as error:
            # Python writes its buffer again at the end, and would exit with status 120.
            _open_devnull(1)
            self._error = _explanation(error)
            raise self._error from None


def _explanation(error: OSError) -> Exception:
    if error.errno == errno.EPIPE:
        return error
    full = error.errno == errno.ENOSPC
    reason = "the disk is full" if full else f"cannot be written ({error.strerror})"
    return OutputError(f"stdout: {reason}; the output is not complete")


def print_error(line: str) -> None:
    """Print a line on stderr if it can be written."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:  # there is no other place to report it
        _open_devnull(2)


def _open_devnull(number: int) -> None:
    opened = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
    if opened == number:
        os.set_inheritable(number, True)
    else:
        os.dup2(opened, number)
        os.close(opened)


def _stream(number: int) -> TextIO:
    return open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False)
