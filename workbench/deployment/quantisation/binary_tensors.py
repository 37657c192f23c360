"""A weight tensor of one bit a weight: plus or minus the scale of its filter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.deployment.quantisation.packed_arrays import Parts, checked_array, finite_array


@dataclass(frozen=True, eq=False)
class BinaryWeights:
    """A weight tensor of signs and scales.

    Attributes:
        shape: of the tensor; the first axis is that of the filters.
        signs: whether a weight is +scale, bool, shape (n,), row by row; otherwise it is -scale.
        scales: one for each filter, float32, not negative, shape (shape[0],).
        thresholds: the layer's inputs become +1 where they are at least these values, and -1 below
            them; one for each input channel, float32. Empty for a layer with real inputs.
    """

    shape: tuple[int, ...]
    signs: NDArray[np.bool_]
    scales: NDArray[np.float32]
    thresholds: NDArray[np.float32]

    def weights(self) -> NDArray[np.float32]:
        """The tensor, float32."""
        rows = self.signs.reshape(self.shape[0], -1)
        scales = self.scales[:, None]
        return np.where(rows, scales, -scales).reshape(self.shape)

    def form(self) -> dict[str, Any]:
        """What a file's description says about the tensor."""
        return {"form": "binary", "shape": list(self.shape)}

    def parts(self) -> dict[str, NDArray[Any]]:
        """The arrays of a file: eight signs a byte, the first one in the highest bit."""
        return {
            "signs": np.packbits(self.signs),
            "scales": self.scales,
            "thresholds": self.thresholds,
        }

    @classmethod
    def from_parts(cls, shape: tuple[int, ...], parts: Parts) -> BinaryWeights:
        """Unpack the arrays of a file.

        Raises:
            ValueError: when they do not form a tensor of this shape.
        """
        scales = finite_array(parts, "scales", 1)
        if len(scales) != shape[0]:
            raise ValueError(f"has {len(scales)} scales for {shape[0]} filters")
        if (scales < 0).any():
            raise ValueError("holds a scale that is negative")
        packed, count = checked_array(parts, "signs", np.uint8, 1), math.prod(shape)
        if len(packed) != -(-count // 8):
            raise ValueError(f"{count} signs do not have {len(packed)} bytes")
        signs = np.unpackbits(packed, count=count).astype(np.bool_)
        return cls(shape, signs, scales, finite_array(parts, "thresholds", 1))
