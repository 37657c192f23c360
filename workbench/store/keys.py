"""Keys: hashes of everything that determines a result, used to recognise finished work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

#: Version of each kind of work, increased when a change of the code changes its result.
SCHEMA = {
    "source": 1, "analysis": 2, "protocol": 1, "adapt": 1, "cell": 1, "stage": 1, "latency": 1,
    "trial": 1, "shrink": 1,
}  # fmt: skip


def key_of(kind: str, parts: Mapping[str, Any]) -> str:
    """SHA-256 over the kind of work, the schema version and everything that determines it.

    Args:
        kind: a name in ``SCHEMA``.
        parts: plain data; the order of keys in mappings does not matter, the order of lists does.
    """
    canonical = json.dumps(
        {"schema": SCHEMA[kind], "kind": kind, **parts}, sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def weights_fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes, types and values, independent of the file format."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        values = tensor.detach().cpu()
        digest.update(f"{name}{tuple(values.shape)}{values.dtype}".encode())
        # A view of a tensor with one item can have a stride of 0; NumPy does not know bfloat16.
        values = values.reshape(-1).clone(memory_format=torch.contiguous_format)
        digest.update(values.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
