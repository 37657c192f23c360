"""A weight tensor with many zeros: its other values, and the number of zeros before each.

The format is that of Deep Compression (Han et al., ICLR 2016) without its codes. The tensor is read
row by row. ``values`` has the stored weights in float32, ``gaps`` the number of zeros between a
stored weight and the one before it, in one byte. Where more than 255 zeros follow each other, a
stored weight of 0 with the gap 255 stands for 256 of them. So a stored weight costs 5 bytes, and
rows need no pointers of their own: with CSR and 16-bit columns it would be 6 bytes and the rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.deployment.quantisation.packed_arrays import Parts, checked_array, finite_array

_LONGEST_GAP = 255
_BYTES = 5  # of a stored weight


@dataclass(frozen=True, eq=False)
class SparseWeights:
    """A weight tensor with many zeros.

    Attributes:
        shape: of the tensor.
        values: the stored weights, float32, shape (n,), row by row.
        gaps: zeros between each stored weight and the one before it, uint8, shape (n,). At most 255
            zeros follow the last one.
    """

    shape: tuple[int, ...]
    values: NDArray[np.float32]
    gaps: NDArray[np.uint8]

    @classmethod
    def of(cls, weights: NDArray[np.float32]) -> SparseWeights:
        """Encode a tensor of any shape; zeros lose their sign, all else is kept bit by bit."""
        flat = weights.reshape(-1)
        places = np.flatnonzero(flat)
        # The last entry stands for the end of the tensor; it is not stored.
        ends = np.append(places, flat.size)
        zeros = np.diff(ends, prepend=-1) - 1
        fillers = zeros // (_LONGEST_GAP + 1)
        gaps = np.full(fillers.sum() + len(ends), _LONGEST_GAP, dtype=np.uint8)
        values = np.zeros(len(gaps), dtype=np.float32)
        own = np.cumsum(fillers + 1) - 1
        gaps[own] = zeros % (_LONGEST_GAP + 1)
        values[own[:-1]] = flat[places]
        return cls(weights.shape, values[:-1], gaps[:-1])

    @property
    def bytes(self) -> int:
        """Bytes of the arrays."""
        return _BYTES * len(self.values)

    def weights(self) -> NDArray[np.float32]:
        """The tensor, float32."""
        flat = np.zeros(math.prod(self.shape), dtype=np.float32)
        flat[_places(self.gaps)] = self.values
        return flat.reshape(self.shape)

    def form(self) -> dict[str, Any]:
        """What a file's description says about the tensor."""
        return {"form": "sparse", "shape": list(self.shape)}

    def parts(self) -> dict[str, NDArray[Any]]:
        """The arrays of a file."""
        return {"values": self.values, "gaps": self.gaps}

    @classmethod
    def from_parts(cls, shape: tuple[int, ...], parts: Parts) -> SparseWeights:
        """Check the arrays of a file.

        Raises:
            ValueError: when they do not form a tensor of this shape.
        """
        values = finite_array(parts, "values", 1)
        gaps = checked_array(parts, "gaps", np.uint8, 1)
        if len(values) != len(gaps):
            raise ValueError(f"has {len(values)} values and {len(gaps)} gaps")
        covered = int(gaps.sum(dtype=np.int64)) + len(gaps)
        # The stored weights bound the size, so a short file cannot ask for much memory.
        if not 0 <= math.prod(shape) - covered <= _LONGEST_GAP:
            raise ValueError(f"its gaps cover {covered} of {math.prod(shape)} weights")
        return cls(shape, values, gaps)


def _places(gaps: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The place of each stored weight in the tensor."""
    return np.cumsum(gaps.astype(np.int64) + 1) - 1
