"""Files that are written whole or not at all, and JSON that may be damaged or hostile."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

MOST_BYTES = 1 << 26  # of a JSON file; a recipe of the largest network is a tenth of it


@contextmanager
def written_whole(path: Path, suffix: str = "") -> Iterator[Path]:
    """Give a file beside ``path`` to write to; it takes that place once it is on the disk.

    A reader, even after a power cut, finds the old file or the whole new one. Nothing is left
    behind when the writing fails.

    Args:
        suffix: ending of the file to write to, for writers that ask for one.

    Raises:
        OSError: when it cannot be written.
    """
    # The name does not contain the file's own: that may be as long as the disk allows.
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
    part = path.with_name(f".{digest}.{os.getpid()}.part{suffix}")
    try:
        yield part
        write_through(part)
        os.replace(part, path)
        with suppress(OSError):  # some file systems do not sync folders
            write_through(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_through(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk.

    Raises:
        OSError: when it cannot be written, or the file system cannot sync a folder.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Raises:
        OSError: when it cannot be written.
    """
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: when the file cannot be read, or as ``parse_json``.
    """
    try:
        with path.open("rb") as file:
            return parse_json(file.read(MOST_BYTES + 1))
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None


def parse_json(
    text: str | bytes,
    most: int = MOST_BYTES,
    mapping: Callable[[list[tuple[str, Any]]], Any] = dict,
) -> Any:
    """Plain data from JSON text.

    Args:
        most: characters (or bytes) that are parsed at most.
        mapping: makes a mapping from its names and values, in the order of the text.

    Raises:
        ValueError: when the text is too long, nested too deeply, no JSON, or holds NaN or
            infinity.
    """
    if len(text) > most:
        raise ValueError(f"longer than {most} characters")
    try:
        return json.loads(text, parse_constant=_reject, object_pairs_hook=mapping)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("no UTF-8 text") from None


def _reject(constant: str) -> NoReturn:
    raise ValueError(f"holds {constant}, which is no number")
