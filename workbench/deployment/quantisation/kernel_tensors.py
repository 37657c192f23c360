"""A weight tensor of a convolution whose kernels are shared: a codebook for each input channel.

A kernel is the k x k weights between one input channel and one filter. Of the N kernels that read
an input channel, ``sizes`` says how many the file stores. 0: the channel is removed, its kernels
are zeros. N: all, in the order of the filters. Otherwise each filter has an index into the
channel's part of the codebook, of ceil(log2 size) bits; all indices follow each other without gaps,
channel by channel, the highest bit first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from workbench.data.checked_values import whole
from workbench.deployment.quantisation.packed_arrays import Parts, checked_array, finite_array

#: Bounds of the input channels and of the kernels that read one. Every layer keeps all kernels of
#: one channel at least, so the first bound limits how much larger than its file a tensor can be.
MOST_CHANNELS, MOST_KERNELS = 1 << 11, (1 << 16) - 1
_AnyArray = TypeVar("_AnyArray", NDArray[Any], Tensor)


def kernels_of(weight: _AnyArray, groups: int) -> _AnyArray:
    """The kernels of a convolution, shape (c, n, d): by input channel, then by filter.

    Args:
        weight: shape (filters, inputs / groups, *kernel); n is filters / groups: those that
            read a channel.
    """
    filters, inputs = weight.shape[:2]
    blocks = weight.reshape(groups, filters // groups, inputs, -1)
    return blocks.swapaxes(1, 2).reshape(groups * inputs, filters // groups, -1)


def weight_of(kernels: _AnyArray, shape: tuple[int, ...], groups: int) -> _AnyArray:
    """The inverse of ``kernels_of``: a weight of this shape."""
    channels, filters, values = kernels.shape
    blocks = kernels.reshape(groups, channels // groups, filters, values)
    return blocks.swapaxes(1, 2).reshape(shape)


@dataclass(frozen=True, eq=False)
class KernelWeights:
    """The weight of a convolution with shared kernels.

    Attributes:
        shape: of the weight, (filters, inputs / groups, *kernel).
        groups: of the convolution; c = inputs is shape[1] * groups, n = shape[0] / groups.
        sizes: kernels that are stored for each input channel, uint16, in [0, n], shape (c,).
        codebook: the stored kernels, channel by channel, float32, shape (sizes.sum(), d).
        indices: place of each kernel in its channel's part of the codebook, uint16, shape (c, n);
            0 to n - 1 where all are stored, 0 where none is.
    """

    shape: tuple[int, ...]
    groups: int
    sizes: NDArray[np.uint16]
    codebook: NDArray[np.float32]
    indices: NDArray[np.uint16]

    def rows(self) -> NDArray[np.int64]:
        """Row of the codebook for each kernel, shape (c, n); its length for a removed one."""
        sizes = self.sizes.astype(np.int64)
        starts = np.cumsum(sizes) - sizes
        return np.where(sizes[:, None] > 0, starts[:, None] + self.indices, len(self.codebook))

    def weights(self) -> NDArray[np.float32]:
        """The tensor, float32."""
        removed = np.zeros((1, self.codebook.shape[1]), dtype=np.float32)
        codebook = np.concatenate([self.codebook, removed])
        return np.ascontiguousarray(weight_of(codebook[self.rows()], self.shape, self.groups))

    @property
    def bytes(self) -> int:
        """Bytes of the arrays of a file."""
        count: int = self.indices.shape[1]
        bits = count * int(index_bits(self.sizes, count).sum())
        return int(self.sizes.nbytes + self.codebook.nbytes) + -(-bits // 8)

    def form(self) -> dict[str, Any]:
        """What a file's description says about the tensor."""
        return {"form": "kernels", "shape": list(self.shape), "groups": self.groups}

    def parts(self) -> dict[str, NDArray[Any]]:
        """The arrays of a file."""
        rows = [
            (row[:, None] >> np.arange(bits)[::-1] & 1).astype(np.uint8).reshape(-1)
            for row, bits in zip(
                self.indices, index_bits(self.sizes, self.indices.shape[1]), strict=True
            )
        ]
        return {
            "sizes": self.sizes,
            "codebook": self.codebook,
            "indices": np.packbits(np.concatenate(rows)),
        }

    @classmethod
    def from_parts(cls, shape: tuple[int, ...], groups: object, parts: Parts) -> KernelWeights:
        """Unpack the arrays of a file.

        Raises:
            ValueError: when they do not form a tensor of this shape.
        """
        number = whole("groups", groups, 1, shape[0])
        if len(shape) < 3 or shape[0] % number:
            raise ValueError(f"has {number} groups and the shape {shape}")
        channels, count, values = shape[1] * number, shape[0] // number, math.prod(shape[2:])
        sizes = checked_array(parts, "sizes", np.uint16, 1)
        codebook = finite_array(parts, "codebook", 2)
        if len(sizes) != channels:
            raise ValueError(f"has {len(sizes)} sizes for {channels} input channels")
        if channels > MOST_CHANNELS:
            raise ValueError(f"has {channels} input channels, more than {MOST_CHANNELS}")
        if int(sizes.max()) != count:
            raise ValueError(f"stores at most {sizes.max()} of {count} kernels of a channel")
        stored = (int(sizes.sum(dtype=np.int64)), values)
        if codebook.shape != stored:
            raise ValueError(f"its codebook has shape {codebook.shape} instead of {stored}")
        # From here, the codebook bounds the size: it has ``count`` kernels at least.
        return cls(shape, number, sizes, codebook, _unpacked(parts, sizes, count))


def index_bits(sizes: NDArray[np.uint16], count: int) -> NDArray[np.int64]:
    """Bits of an index for each channel, shape (c,); 0 where all kernels are stored, or at most 1.

    Args:
        sizes: stored kernels of each channel, shape (c,).
        count: kernels of each channel.
    """
    needed = [0 if size == count else (max(int(size), 1) - 1).bit_length() for size in sizes]
    return np.array(needed, dtype=np.int64)


def _unpacked(parts: Parts, sizes: NDArray[np.uint16], count: int) -> NDArray[np.uint16]:
    """The indices of a file, shape (c, n)."""
    packed, bits = checked_array(parts, "indices", np.uint8, 1), index_bits(sizes, count)
    total = int(bits.sum()) * count
    if len(packed) != -(-total // 8):
        raise ValueError(f"its indices have {len(packed)} bytes instead of {-(-total // 8)}")
    found = np.unpackbits(packed, count=total)
    indices = np.zeros((len(sizes), count), dtype=np.uint16)
    indices[sizes == count] = np.arange(count)
    start = 0
    for channel in np.flatnonzero(bits):
        width = int(bits[channel])
        read = found[start : start + count * width].reshape(count, width)
        indices[channel] = read.astype(np.int64) @ (1 << np.arange(width)[::-1])
        start += count * width
        if int(indices[channel].max()) >= sizes[channel]:
            raise ValueError(f"holds an index above {int(sizes[channel]) - 1}")
    return indices
