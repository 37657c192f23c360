"""Checks of an uploaded zip file, and its extraction.

The archive is not trusted: neither its names, nor the sizes that it declares. Nothing is written
before all names and declared sizes are checked. Then the bytes that are written are counted.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from workbench.data.folder_files import IMAGE_SUFFIXES
from workbench.errors import printable
from workbench.experiments.service.rejections import RejectionError
from workbench.experiments.service.settings import MB

_MOST_ENTRIES = 65_535  # what an archive without zip64 can have
_LARGEST_LIST = 16 * MB  # of names; zipfile reads it as a whole before anything can be checked
_MOST_DEPTH = 4  # archive/train/class/image.jpg
_LONGEST_PART = 200  # bytes of a file or folder name
_LARGEST_IMAGE = 100 * MB
_MOST_RATIO = 200  # of an image's size in and out of the archive: PNG of one colour has 100
_RATIO_FROM = MB  # smaller files may have any ratio
_EXPANSION = 4  # size of all files, as a multiple of the largest upload
_CHUNK = 1 << 16
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MADE_BY_SYSTEMS = ("__MACOSX", "Thumbs.db", "desktop.ini")
_ENCRYPTED = 0x1
#: The last record of an archive: disks, entries, size and place of the list, length of a comment.
_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE, _ZIP64_SIGNATURE, _ZIP64_SIZE = b"PK\x05\x06", b"PK\x06\x07", 20
_LONGEST_END = _END.size + 0xFFFF + _ZIP64_SIZE


@dataclass(frozen=True)
class Entry:
    """One image of an archive.

    Attributes:
        path: where it is written, relative to the new folder.
    """

    info: zipfile.ZipInfo
    path: PurePosixPath


def extract(archive: Path, folder: Path, upload_mb: int) -> None:
    """Write the images of an archive to a new folder.

    Args:
        folder: must not exist; the caller removes it after a failure.
        upload_mb: largest upload in MB.

    Raises:
        RejectionError: 413 when it holds too much, 422 for any other problem.
    """
    try:
        _check_end(archive)
        with zipfile.ZipFile(archive) as opened:
            entries = check_entries(opened.infolist(), upload_mb)
            folder.mkdir(parents=True)
            left = _EXPANSION * upload_mb * MB
            for entry in entries:
                left -= _write(opened, entry, folder, left)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise RejectionError(
            422, f"the file is not a zip archive, or it is damaged ({reason})"
        ) from None
    except OSError as error:
        status = 507 if error.errno in (errno.ENOSPC, errno.EDQUOT) else 422
        raise RejectionError(
            status, f"the archive cannot be extracted ({error.strerror})"
        ) from None


def _check_end(archive: Path) -> None:
    """Check the number of entries and the size of the list of names in the archive's last bytes.

    Raises:
        RejectionError: 413 when the list is too long, or its length is given in the zip64 format.
        BadZipFile: when there is no such list.
    """
    with archive.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LONGEST_END))
        end = file.read()
    plain = end[-_END.size :]
    at = len(end) - _END.size
    if not (plain.startswith(_END_SIGNATURE) and plain.endswith(b"\0\0")):
        at = end.rfind(_END_SIGNATURE)
    if at < 0 or len(end) < at + _END.size:
        raise zipfile.BadZipFile("it has no list of its files")
    entries, listed = _END.unpack_from(end, at)[4:6]
    zip64 = end[max(0, at - _ZIP64_SIZE) : at].startswith(_ZIP64_SIGNATURE)
    if zip64 or entries > _MOST_ENTRIES or listed > _LARGEST_LIST:
        raise RejectionError(
            413, f"the archive has too many entries; up to {_MOST_ENTRIES:,} are allowed"
        )


def check_entries(infos: list[zipfile.ZipInfo], upload_mb: int) -> list[Entry]:
    """Check what an archive declares: names, kinds, number and sizes of its entries.

    Raises:
        RejectionError: 413 when it declares too much, 422 for any other problem.
    """
    if len(infos) > _MOST_ENTRIES:
        raise RejectionError(
            413, f"the archive has {len(infos):,} entries; {_MOST_ENTRIES:,} are allowed"
        )
    entries = []
    for info in infos:
        path = _checked_name(info)
        if info.is_dir() or _is_by_system(path):
            continue
        _check_kind(info, path)
        _check_size(info)
        entries.append(Entry(info, path))
    total, most = sum(entry.info.file_size for entry in entries), _EXPANSION * upload_mb * MB
    if total > most:
        raise RejectionError(
            413,
            f"the files of the archive have {total / MB:,.0f} MB; {most / MB:,.0f} MB are allowed",
        )
    if not entries:
        raise RejectionError(422, "the archive has no images; put each class into its own folder")
    if len({entry.path for entry in entries}) < len(entries):
        raise RejectionError(422, "the archive has two files of the same name")
    return _without_top_folder(entries)


def _checked_name(info: zipfile.ZipInfo) -> PurePosixPath:
    """The path of an entry, if it stays below the folder that it is extracted to."""
    name = info.orig_filename  # ``filename`` is cut at a NUL character
    shown = printable(name, 100)
    parts = name.removesuffix("/").split("/")
    wrong = ""
    if not name.isprintable():
        wrong = "it has characters that cannot be printed"
    elif "\\" in name:
        wrong = "it has a backslash; separate folders by /"
    elif name.startswith("/") or ":" in parts[0]:
        wrong = "it is an absolute path"
    elif any(part in ("", ".", "..") for part in parts):
        wrong = "it leads out of the archive or has an empty part"
    elif len(parts) > _MOST_DEPTH:
        wrong = f"it is more than {_MOST_DEPTH} levels deep"
    elif any(len(part.encode()) > _LONGEST_PART for part in parts):
        wrong = f"a part of it is longer than {_LONGEST_PART} bytes"
    if wrong:
        raise RejectionError(422, f"the name '{shown}' in the archive is not allowed: {wrong}")
    return PurePosixPath(*parts)


def _is_by_system(path: PurePosixPath) -> bool:
    """Whether an operating system or a file manager added this file."""
    return any(part.startswith(".") or part in _MADE_BY_SYSTEMS for part in path.parts)


def _check_kind(info: zipfile.ZipInfo, path: PurePosixPath) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise RejectionError(422, f"'{path}' in the archive is a link or a special file; remove it")
    if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
        raise RejectionError(
            422,
            f"'{path}' in the archive is encrypted or compressed in a rare way; "
            "make an ordinary zip file",
        )
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise RejectionError(
            422,
            f"'{path}' in the archive is not an image; the archive may hold only images, such "
            "as .jpg and .png",
        )
    if len(path.parts) < 2:
        raise RejectionError(422, f"'{path}' is in no folder; put each class into its own folder")


def _check_size(info: zipfile.ZipInfo) -> None:
    packed, unpacked = info.compress_size, info.file_size
    if unpacked > _LARGEST_IMAGE:
        raise RejectionError(
            413,
            f"an image in the archive has {unpacked / MB:,.0f} MB; "
            f"{_LARGEST_IMAGE // MB} MB are allowed",
        )
    if unpacked > _RATIO_FROM and unpacked > _MOST_RATIO * max(packed, 1):
        raise RejectionError(
            413,
            f"a file in the archive is compressed {unpacked / max(packed, 1):,.0f} times, "
            "which no image is",
        )


def _without_top_folder(entries: list[Entry]) -> list[Entry]:
    """Drop the folder that holds everything, as in ``pets/cat/1.jpg``."""
    tops = {entry.path.parts[0] for entry in entries}
    if len(tops) > 1 or any(len(entry.path.parts) < 3 for entry in entries):
        return entries
    return [Entry(entry.info, PurePosixPath(*entry.path.parts[1:])) for entry in entries]


def _write(opened: zipfile.ZipFile, entry: Entry, folder: Path, left: int) -> int:
    """Write one image and return its size; stop at the size that it declares."""
    path = folder / entry.path
    path.parent.mkdir(parents=True, exist_ok=True)
    written, most = 0, min(entry.info.file_size, left)
    with opened.open(entry.info) as packed, path.open("xb") as file:
        while chunk := packed.read(_CHUNK):
            written += len(chunk)
            if written > most:
                raise RejectionError(413, f"'{entry.path}' is larger than the archive declares")
            file.write(chunk)
    return written
