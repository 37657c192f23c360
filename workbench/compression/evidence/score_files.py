"""The file with the scores of filters from a training of gates: one array for each filter group.

It is a safetensors file, which holds only numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file

from workbench.compression.evidence.evidence import Array
from workbench.models.weight_files import save_tensors

SCORES_FILE = "gates.safetensors"


def write_scores(scores: Mapping[str, Array], path: Path) -> None:
    """Write the scores by filter group.

    Raises:
        OSError: when the file cannot be written.
    """
    save_tensors({name: torch.from_numpy(own.copy()) for name, own in scores.items()}, path, {})


def read_scores(path: Path) -> dict[str, Array]:
    """Read a file that ``write_scores`` wrote.

    Raises:
        ValueError: when it is something else.
    """
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"not a file of scores ({error})") from None
    for name, own in found.items():
        if own.ndim != 1 or own.dtype != np.float64 or not np.isfinite(own).all():
            raise ValueError(f"{name}: its scores are not one finite number for each filter")
    return found
