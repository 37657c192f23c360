"""Rows of length 1."""

from __future__ import annotations

import torch
from torch import Tensor

#: Rows that are shorter count as zero.
_SHORTEST = 1e-12


def unit_rows(rows: Tensor) -> Tensor:
    """Divide each row by its Euclidean norm; a row of zeros stays zero, with gradient zero.

    Without the second condition, the gradient of a row of zeros would be that of a division by
    almost zero, and one black image would end the training.

    Args:
        rows: shape (..., n).
    """
    norms = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return torch.where(norms > _SHORTEST, rows / norms.clamp_min(_SHORTEST), 0.0)
