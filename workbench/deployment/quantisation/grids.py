"""Quantisation grids: evenly spaced values that small whole numbers stand for.

A code c of a grid with scale S and zero point Z stands for the value S (c - Z) (Jacob et al. 2018,
section 2.1). Rounding changes a value within the grid's range by at most S / 2. The affine grid
has 256 codes for a range of values that includes 0. The symmetric grid has Z = 0 and one scale for
each output channel, which suits weights: channels differ in size, and sums need no correction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Grid:
    """Evenly spaced values and their codes.

    Attributes:
        scale: distance of neighbours, float32, positive; a number, or one for each output channel
            with a shape that broadcasts over the weights, such as (n, 1, 1, 1).
        zero: the code of the value 0.
        lowest, highest: the range of codes, both included.
    """

    scale: NDArray[np.float32]
    zero: int
    lowest: int
    highest: int


def affine_grid(lowest: float, highest: float) -> Grid:
    """Make the grid with 256 unsigned codes for values of this range, extended to include 0.

    The scale is 1 when the range is only 0.

    Args:
        lowest, highest: of the values, finite.
    """
    low, high = min(lowest, 0.0), max(highest, 0.0)
    scale = _positive(np.asarray((high - low) / 255))
    return Grid(scale, int(np.rint(-low / scale)), 0, 255)


def symmetric_grid(weights: NDArray[np.float32], bits: int = 8) -> Grid:
    """Make the grid with signed codes, and one scale for each output channel.

    The scale of a channel with only zeros is 1.

    Args:
        weights: shape (n, ...), one row for each output channel, finite.
        bits: of a code, at least 2; codes lie in [-(2^(bits-1) - 1), 2^(bits-1) - 1].
    """
    highest = (1 << (bits - 1)) - 1
    rest = tuple(range(1, weights.ndim))
    largest = np.abs(weights).max(axis=rest, keepdims=True, initial=0.0)
    return Grid(_positive(largest / highest), 0, -highest, highest)


def _positive(scale: NDArray) -> NDArray[np.float32]:
    """Scales in float32, with 1 for those that are 0 there."""
    rounded = np.asarray(scale, dtype=np.float32)
    return np.where(rounded > 0, rounded, np.float32(1))


def quantise(values: NDArray[np.float32], grid: Grid) -> NDArray[np.int32]:
    """Codes of the nearest values of the grid; values out of its range get the code at its end."""
    codes = np.rint(values / grid.scale) + grid.zero
    return np.asarray(np.clip(codes, grid.lowest, grid.highest), dtype=np.int32)


def dequantise(codes: NDArray[np.integer], grid: Grid) -> NDArray[np.float32]:
    """Values, float32, that the codes stand for."""
    values: NDArray[np.float32] = (codes - grid.zero).astype(np.float32) * grid.scale
    return values
