"""Files of unfinished work, which survive a kill, a crash or a lost tracking server.

Each training has a folder named by its key. It holds the checkpoint during the training, and the
outcome and the weights afterwards. The folder is written before anything is sent to MLflow and
removed when the run is FINISHED. A lock file prevents two processes from doing the same training.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from workbench.compression.evidence.score_files import SCORES_FILE, write_scores
from workbench.data.checked_values import listed, mapped, number, whole
from workbench.data.whole_files import read_json, write_text
from workbench.errors import DiskError, StoreError
from workbench.models.weight_files import save_tensors
from workbench.store.keys import file_hash
from workbench.store.tracking_uris import check_uri, database_path, store_uri
from workbench.training.checkpoints import Checkpoint, Epoch, epoch_from
from workbench.training.evaluation import Evaluation
from workbench.training.predictions import PREDICTIONS_FILE, Predictions

WEIGHTS_FILE = "weights.safetensors"
_HASH = "weights_sha256"  # in the outcome; absent in files of earlier versions
_OUTCOME, _CHECKPOINT, _STORE = "outcome.json", "checkpoint.safetensors", "store"
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Outcome:
    """Result of one training.

    Attributes:
        hits: number of test images that the network classified correctly.
        images: number of test images.
        train_seconds: time spent in epochs, including those before a resume.
        epochs: loss and learning rate of every epoch.
        top_hits: number of test images whose class was among the network's first five.
        correct: one character for each test image, in order: "1" if it was classified correctly,
            else "0"; None in files of earlier versions.
    """

    hits: int
    images: int
    train_seconds: float
    epochs: tuple[Epoch, ...]
    top_hits: int | None = None
    correct: str | None = None

    @classmethod
    def of(cls, found: Evaluation, train_seconds: float, epochs: tuple[Epoch, ...]) -> Outcome:
        """The outcome of a training whose network was evaluated."""
        return cls(
            found.hits,
            found.images,
            train_seconds,
            epochs,
            found.top_hits,
            correct_text(found.correct),
        )

    @property
    def loss(self) -> float:
        """Mean training loss of the last epoch; 0 without epochs."""
        return self.epochs[-1].loss if self.epochs else 0.0


@dataclass(frozen=True)
class Work:
    """The folder of resumable state.

    Attributes:
        folder: folder with the state of each training.
        locks: folder of the lock files. It is beside a SQLite store, so that all processes that
            share the store share the locks; otherwise it is in ``folder``.
    """

    folder: Path
    locks: Path

    @property
    def owner(self) -> str:
        """Name of this owner: the machine and the folder of locks."""
        return f"{socket.gethostname()}:{self.locks.resolve()}"

    def check(self) -> None:
        """Check that the folder exists or can be created; nothing is created yet.

        Raises:
            StoreError: when it cannot be created or written.
        """
        try:
            there = next(path for path in (self.folder, *self.folder.parents) if path.exists())
            if not there.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not os.access(there, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise self._unwritable(error) from None

    def prepare(self) -> None:
        """Create the folders.

        Raises:
            StoreError: when they cannot be created.
        """
        try:
            for folder in (self.folder, self.locks):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(
            f"{self.folder}: cannot be written ({error.strerror}); name another by --output"
        )

    @contextmanager
    def lock(self, key: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the training's lock, which is released even when the process is killed.

        Args:
            waiting: called once if another process holds the lock.
        """
        lock = FileLock(self.locks / f"{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def is_locked(self, key: str) -> bool:
        """Whether a running process holds the key's lock."""
        lock = FileLock(self.locks / f"{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False

    def checkpoint(self, key: str, every: float) -> Checkpoint:
        """The checkpoint in which ``training.loop.fit`` stores the training's state."""
        return Checkpoint(self.folder / key / _CHECKPOINT, key, every)

    def finish(
        self,
        key: str,
        outcome: Outcome,
        weights: dict[str, Tensor],
        metadata: dict[str, str],
        predictions: Predictions | None = None,
        scores: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> None:
        """Write the weights and the outcome of a training; it is done when both exist."""
        folder = self.folder / key
        save_tensors(weights, folder / WEIGHTS_FILE, metadata)
        if predictions is not None:
            predictions.write(folder / PREDICTIONS_FILE)
        if scores is not None:
            write_scores(scores, folder / SCORES_FILE)
        saved = {**asdict(outcome), _HASH: file_hash(folder / WEIGHTS_FILE)}
        write_text(folder / _OUTCOME, json.dumps(saved))
        (folder / _CHECKPOINT).unlink(missing_ok=True)

    def outcome(self, key: str) -> Outcome | None:
        """The outcome of a training that is done but not yet recorded, else None.

        A training with damaged files (after a full disk or a power cut) counts as not done.
        """
        path, weights = self.folder / key / _OUTCOME, self.weights(key)
        try:
            saved = mapped("it", read_json(path))
            outcome = _checked_outcome(saved)
            whole_weights = saved.get(_HASH) in (None, file_hash(weights))
        except (ValueError, OSError):
            return None
        return outcome if whole_weights else None

    def weights(self, key: str) -> Path:
        """The weight file of a training that is done."""
        return self.folder / key / WEIGHTS_FILE

    def predictions(self, key: str) -> Path | None:
        """The file of predictions of a training that is done; None in earlier versions' work."""
        path = self.folder / key / PREDICTIONS_FILE
        return path if path.is_file() else None

    def scores(self, key: str) -> Path:
        """The file of the filters' scores of a training that has some and is done."""
        return self.folder / key / SCORES_FILE

    def remove(self, key: str) -> None:
        """Delete a training's state, but not its lock file: others may wait for it."""
        shutil.rmtree(self.folder / key, ignore_errors=True)

    def claim(self, key: str, store: str) -> None:
        """Record the store to which this training belongs."""
        (self.folder / key).mkdir(exist_ok=True)
        write_text(self.folder / key / _STORE, store)

    def begun(self, store: str) -> list[str]:
        """Keys of all trainings for this store that have a folder here."""
        return sorted(
            path.parent.name
            for path in self.folder.glob(f"*/{_STORE}")
            if _KEY.fullmatch(path.parent.name) and path.read_bytes() == store.encode()
        )


def _checked_outcome(saved: dict[str, Any]) -> Outcome:
    epochs = listed("epochs", saved.get("epochs"))
    images = whole("images", saved.get("images"), 1)
    top_hits, correct = saved.get("top_hits"), saved.get("correct")
    hits = whole("hits", saved.get("hits"), 0, images)
    return Outcome(
        hits=hits,
        images=images,
        train_seconds=number("train_seconds", saved.get("train_seconds")),
        epochs=tuple(map(epoch_from, epochs)),
        top_hits=None if top_hits is None else whole("top_hits", top_hits, 0, images),
        correct=None if correct is None else checked_correct(correct, hits, images),
    )


def correct_text(correct: NDArray[np.bool_]) -> str:
    """One character for each image: "1" if it was classified correctly, else "0"."""
    return "".join("1" if each else "0" for each in correct)


def checked_correct(value: object, hits: int, images: int) -> str:
    """Text as made by ``correct_text``, checked against the recorded counts.

    Raises:
        ValueError: when it is something else.
    """
    if not isinstance(value, str) or not set(value) <= {"0", "1"}:
        raise ValueError("'correct' is not a text of 0 and 1")
    if (len(value), value.count("1")) != (images, hits):
        raise ValueError(f"'correct' does not have {images} images with {hits} hits")
    return value


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn the errors of a full disk or a removed folder into a DiskError of one line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskError(
                f"{folder}: the disk is full; free some space ('workbench clean' helps) and run "
                "the same command again: finished work is kept"
            ) from None
        if error.errno == errno.ENOENT and not os.path.isdir(folder):
            raise DiskError(
                f"{folder}: was removed while the work was going on; run the same command again"
            ) from None
        raise


DEFAULT_OUTPUT = Path("mlruns/work")


def open_work(output: Path | None, tracking_uri: str | None) -> Work:
    """The work folder, with its locks beside a SQLite store; nothing is created yet."""
    folder = output or DEFAULT_OUTPUT
    check_uri(store_uri(tracking_uri))
    database = database_path(store_uri(tracking_uri))
    locks = database.with_name(f"{database.name}.locks") if database else folder / ".locks"
    return Work(folder, locks)
