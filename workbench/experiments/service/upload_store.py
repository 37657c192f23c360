"""Uploads on the disk: weight files, and image folders from zip files.

An upload's id is a hash of its content and name, so the same file is kept once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from workbench.data.checked_values import mapped, short_text, whole
from workbench.data.folder_files import list_folder
from workbench.data.whole_files import read_json, write_text
from workbench.errors import DataError, printable
from workbench.experiments.service.rejections import RejectionError, not_found
from workbench.experiments.service.settings import MB
from workbench.experiments.service.zip_uploads import extract

WEIGHTS, IMAGES = "weights", "images"
UPLOAD_ID = re.compile(r"[0-9a-f]{24}")
_KINDS = {".safetensors": WEIGHTS, ".zip": IMAGES}
_FILE, _NEW = "upload.json", ".new-"
_CHUNK = 1 << 20
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Upload:
    """One upload.

    Attributes:
        id: 24 hexadecimal digits.
        kind: ``WEIGHTS`` or ``IMAGES``.
        name: name of the file without its suffix; letters, digits, "-" and "_" only.
        bytes: size on the disk.
        classes: number of images of each class, training and test together; empty for weights.
    """

    id: str
    kind: str
    name: str
    bytes: int
    classes: dict[str, int] = field(default_factory=dict)


@dataclass
class UploadStore:
    """The folder of uploads.

    Attributes:
        folder: has one subfolder for each upload.
        upload_mb, storage_mb: largest upload, and largest size of all uploads, in MB.
    """

    folder: Path
    upload_mb: int
    storage_mb: int
    _lock: Any = field(default_factory=threading.Lock)

    def clean(self) -> None:
        """Remove what a killed server left behind; called before any upload."""
        for left in self.folder.glob(f"{_NEW}*"):
            shutil.rmtree(left, ignore_errors=True)

    def add(self, name: str, content: BinaryIO) -> Upload:
        """Check a file and keep it; nothing is left behind if it is rejected.

        Args:
            name: its name on the client's machine.

        Raises:
            RejectionError: 413 if it is too large, 415 for another type, 422 if it is damaged, 507
                if there is no room.
        """
        kind = _KINDS.get(Path(name).suffix.lower())
        if kind is None:
            raise RejectionError(
                415,
                f"'{printable(name, 100)}' cannot be used; upload weights as .safetensors, or "
                "images as a .zip with a folder for each class",
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock, tempfile.TemporaryDirectory(prefix=_NEW, dir=self.folder) as new:
            return self._keep(kind, plain_name(name), content, Path(new))

    def _keep(self, kind: str, name: str, content: BinaryIO, new: Path) -> Upload:
        packed = new / f"packed{'.safetensors' if kind == WEIGHTS else '.zip'}"
        upload_id = self._copy(content, packed, f"{kind}/{name}")
        if (self.folder / upload_id).exists():
            return self.get(upload_id)
        kept = new / upload_id
        kept.mkdir()
        if kind == WEIGHTS:
            check_tensors(packed)
            os.replace(packed, kept / f"{name}.safetensors")
            classes = {}
        else:
            extract(packed, kept / name, self.upload_mb)
            classes = _classes(kept / name)
        upload = Upload(upload_id, kind, name, _size(kept), classes)
        if upload.bytes + sum(each.bytes for each in self.all()) > self.storage_mb * MB:
            raise RejectionError(
                507, f"the uploads would have more than {self.storage_mb} MB; delete some"
            )
        write_text(kept / _FILE, json.dumps(asdict(upload)))
        os.replace(kept, self.folder / upload_id)
        return upload

    def _copy(self, content: BinaryIO, path: Path, salt: str) -> str:
        """Copy the content to a file and return its id."""
        digest, left = hashlib.sha256(salt.encode() + b"\0"), self.upload_mb * MB
        with path.open("wb") as file:
            while chunk := content.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise RejectionError(413, f"the file is larger than {self.upload_mb} MB")
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()[:24]

    def all(self) -> list[Upload]:
        """All uploads, sorted by name; damaged records are left out."""
        found = []
        if self.folder.is_dir():
            for folder in self.folder.iterdir():
                if UPLOAD_ID.fullmatch(folder.name):
                    try:
                        found.append(self.get(folder.name))
                    except RejectionError:
                        continue
        return sorted(found, key=lambda upload: (upload.name, upload.id))

    def get(self, upload_id: str) -> Upload:
        """One upload.

        Raises:
            RejectionError: 404 when there is none with this id.
        """
        missing = not_found(f"there is no upload '{printable(upload_id, 40)}'")
        if not UPLOAD_ID.fullmatch(upload_id):
            raise missing
        try:
            saved = mapped("it", read_json(self.folder / upload_id / _FILE))
            return Upload(
                upload_id,
                short_text("kind", saved.get("kind")),
                plain_name(short_text("name", saved.get("name"))),
                whole("bytes", saved.get("bytes")),
                mapped("classes", saved.get("classes")),
            )
        except ValueError:
            raise missing from None

    def path(self, upload: Upload) -> Path:
        """The weight file, or the folder of images."""
        suffix = ".safetensors" if upload.kind == WEIGHTS else ""
        return self.folder / upload.id / f"{upload.name}{suffix}"

    def remove(self, upload_id: str, used: Iterable[str]) -> None:
        """Delete an upload.

        Args:
            used: ids of uploads that jobs need which have not ended.

        Raises:
            RejectionError: 404, or 409 if a job needs it.
        """
        upload = self.get(upload_id)
        if upload_id in used:
            raise RejectionError(409, "a job that has not ended needs this upload; cancel it first")
        with self._lock:
            shutil.rmtree(self.folder / upload.id, ignore_errors=True)


def plain_name(name: str) -> str:
    """The stem of a file's name with letters, digits, "-" and "_" only, as a domain's name has."""
    stem = Path(name.replace("\\", "/")).name.rpartition(".")[0] or name
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:_LONGEST_NAME]
    return plain if plain[:1].isalnum() else "upload"


def check_tensors(path: Path) -> None:
    """Check that a file is a complete safetensors file; nothing in it is executed.

    Raises:
        RejectionError: 422 when it is not.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            empty = not list(file.keys())
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise RejectionError(422, f"the file is not a safetensors file ({reason})") from None
    if empty:
        raise RejectionError(422, "the file holds no tensors")


def _classes(folder: Path) -> dict[str, int]:
    """The number of images of each class.

    Raises:
        RejectionError: 422 with the problems that ``adapt`` would report for this folder.
    """
    try:
        found = list_folder(folder)
    except DataError as error:
        # Show the name inside the archive instead of the place on this machine.
        shown = [problem.replace(str(folder), folder.name) for problem in error.problems]
        raise RejectionError(422, *shown) from None
    counts = zip(found.counts("train"), found.counts("test"), strict=True)
    return {name: sum(both) for name, both in zip(found.classes, counts, strict=True)}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
