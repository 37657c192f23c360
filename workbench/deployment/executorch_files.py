"""ExecuTorch files (.pte): networks for phones and small devices, computed by XNNPACK.

A file takes one image at a time, so a device reserves memory for one image; ``open_pte``'s function
computes a batch image by image. The card is stored as a constant method of the program, which
every ExecuTorch runtime can read.

ExecuTorch's runtime ends the whole process on some damaged files: it logs a name from the file
as text, and bytes that are not UTF-8 raise a C++ exception that nothing catches. Therefore the
file holds its own SHA-256, which is checked before the runtime sees the file. A file without it
was not written by the workbench and is rejected. The checksum detects damage; it does not protect
against a file that somebody made in order to attack the runtime.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench.deployment.optional_libraries import import_library
from workbench.errors import ExportError, WeightsError, brief
from workbench.models.weight_files import CARD, Card, card_from

_KIND = slice(4, 8)  # where a program has its file identifier
_KIND_START = b"ET"
_CHECKSUM = "sha256"
_EMPTY = "0" * 64
_WRITTEN = re.compile(rb"workbench-sha256:([0-9a-f]{64})")
Logits = NDArray[np.float32]


def write_pte(network: nn.Module, card: Card, images: Tensor, path: Path) -> None:
    """Write a network as an ExecuTorch program whose operators are delegated to XNNPACK.

    Args:
        network: in evaluation mode, on the CPU, float32.
        card: stored in the file.
        images: one or more normalised images, float32, shape (b, c, h, w).

    Raises:
        SettingsError: when executorch is not installed.
        ExportError: when the network has an operator that ExecuTorch cannot compute.
    """
    exir = _import("executorch.exir")
    partition = _import("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    constants = {CARD: card.text(), _CHECKSUM: f"workbench-sha256:{_EMPTY}"}
    example = torch.zeros(1, *images.shape[1:])
    with _silence():
        try:
            program = torch.export.export(_channels_first(network), (example,))
            lowered = exir.to_edge_transform_and_lower(
                program, partitioner=[partition.XnnpackPartitioner()], constant_methods=constants
            ).to_executorch()
        except Exception as error:  # noqa: BLE001 - executorch's errors have no common base
            raise ExportError(
                f"{path}: ExecuTorch cannot write this network ({brief(error)}); use onnx"
            ) from None
    path.write_bytes(_signed(bytes(lowered.buffer)))


def open_pte(path: Path) -> tuple[Card, Callable[[NDArray[np.float32]], Logits]]:
    """Open an ExecuTorch file that the workbench wrote.

    Returns:
        The card, and a function from normalised images (float32, shape (b, c, h, w), any b) to
        logits (float32, shape (b, classes)).

    Raises:
        SettingsError: when executorch is not installed.
        WeightsError: when the file is missing, damaged or not written by the workbench.
    """
    content = _checked(path)
    runtime = _import("executorch.runtime")
    with _silence():
        try:
            program = runtime.Runtime.get().load_program(content)
            (text,) = program.load_method(CARD).execute([])
            program.load_method("forward")
        except (RuntimeError, KeyError, ValueError) as error:
            raise WeightsError(f"{path}: not a readable ExecuTorch file ({brief(error)})") from None
    card = card_from(path, text)

    def classify(images: NDArray[np.float32]) -> Logits:
        rows = []
        # A method does not keep its program alive; without the program, it reads freed memory.
        forward = program.load_method("forward")
        try:
            for image in images:
                (row,) = forward.execute([torch.from_numpy(np.ascontiguousarray(image[None]))])
                rows.append(row.numpy())
        except RuntimeError as error:
            raise WeightsError(f"{path}: does not run on its images ({brief(error)})") from None
        return np.concatenate(rows) if rows else np.empty((0, len(card.classes)), np.float32)

    return card, classify


def _channels_first(network: nn.Module) -> nn.Module:
    """A copy in the default layout: XNNPACK's passes fail on weights that are channels last.

    ``contiguous`` is not enough. Tensors of one channel count as contiguous with the strides of
    channels last, and ExecuTorch reads the layout from the strides.
    """
    copy = deepcopy(network)
    for tensor in (*copy.parameters(), *copy.buffers()):
        tensor.data = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)
    return copy


def _signed(content: bytes) -> bytes:
    """The program with its SHA-256 in place of the zeros that stand for it."""
    place = content.index(_EMPTY.encode(), content.index(b"workbench-sha256:"))
    digest = hashlib.sha256(content).hexdigest().encode()
    return content[:place] + digest + content[place + len(digest) :]


def _checked(path: Path) -> bytes:
    """The content of a file whose SHA-256 is the one that it holds."""
    if not os.path.isfile(path):
        raise WeightsError(f"{path}: no such file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not content[_KIND].startswith(_KIND_START):
        raise WeightsError(f"{path}: not a readable ExecuTorch file")
    found = _WRITTEN.search(content)
    if found is None:
        raise WeightsError(
            f"{path}: damaged, or not written by the workbench: it has no checksum; export it again"
        )
    start, end = found.span(1)
    wanted = hashlib.sha256(content[:start] + _EMPTY.encode() + content[end:]).hexdigest()
    if wanted.encode() != found[1]:
        raise WeightsError(f"{path}: damaged: its checksum is wrong; export it again")
    return content


def _import(name: str) -> Any:
    """Import a module of the extra ``[executorch]``.

    Raises:
        SettingsError: when it is not installed.
    """
    with _silence():
        return import_library(name, "executorch", "ExecuTorch")


@contextmanager
def _silence() -> Iterator[None]:
    """Hide the messages of ExecuTorch, which logs and warns on each import and load."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stderr(io.StringIO()),
            redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
