"""The forms of a packed weight tensor, and the arrays that a file holds for each.

``SharedWeights``: every weight is one of a few values of a codebook; Huffman codes of the indices.
``GridWeights``: every weight is a code of b bits times the scale of its output channel.
``SparseWeights`` (``sparse_tensors``): the weights that are not 0, and the gaps between them.
``BinaryWeights`` (``binary_tensors``): every weight is plus or minus the scale of its filter.
``KernelWeights`` (``kernel_tensors``): a codebook of kernels for each input channel.

``parts`` gives the arrays, by name. ``from_parts`` checks arrays that anybody may have written
and gives the tensor back; it allocates nothing that the arrays' own sizes do not bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from workbench.data.checked_values import listed, mapped, required, whole
from workbench.deployment.quantisation.binary_tensors import BinaryWeights
from workbench.deployment.quantisation.huffman import code_lengths, decode, encode
from workbench.deployment.quantisation.kernel_tensors import KernelWeights
from workbench.deployment.quantisation.packed_arrays import Parts, checked_array, finite_array
from workbench.deployment.quantisation.sparse_tensors import SparseWeights

_MOST_AXES, _LONGEST_AXIS = 6, 1 << 31
_BITS = range(2, 9)  # of a code in a file
_BLOCK = 1 << 20  # codes that are packed together, which bounds the memory; a multiple of 8


@dataclass(frozen=True, eq=False)
class SharedWeights:
    """A weight tensor with few distinct values.

    Attributes:
        shape: of the tensor.
        codebook: the values, float32, shape (k,), k at most 256.
        indices: the value of each weight, uint8, shape (n,), row by row.
    """

    shape: tuple[int, ...]
    codebook: NDArray[np.float32]
    indices: NDArray[np.uint8]

    def weights(self) -> NDArray[np.float32]:
        """The tensor, float32."""
        return self.codebook[self.indices].reshape(self.shape)

    def counts(self) -> NDArray[np.int64]:
        """How often each value occurs, shape (k,)."""
        return np.bincount(self.indices, minlength=len(self.codebook))

    def form(self) -> dict[str, Any]:
        """What a file's description says about the tensor."""
        return {"form": "shared", "shape": list(self.shape)}

    def parts(self) -> dict[str, NDArray[Any]]:
        """The arrays of a file."""
        lengths = code_lengths(self.counts())
        stream, sizes = encode(self.indices, lengths)
        return {"stream": stream, "sizes": sizes, "lengths": lengths, "codebook": self.codebook}

    @classmethod
    def from_parts(cls, shape: tuple[int, ...], parts: Parts) -> SharedWeights:
        """Decode the arrays of a file.

        Raises:
            ValueError: when they do not form a tensor of this shape.
        """
        codebook = finite_array(parts, "codebook", 1)
        stream, lengths = (
            checked_array(parts, "stream", np.uint8, 1),
            checked_array(parts, "lengths", np.uint8, 1),
        )
        if len(codebook) != len(lengths):
            raise ValueError(f"has {len(codebook)} values and {len(lengths)} code lengths")
        sizes = checked_array(parts, "sizes", np.uint16, 1)
        return cls(shape, codebook, decode(stream, sizes, lengths, math.prod(shape)))


@dataclass(frozen=True, eq=False)
class GridWeights:
    """A weight tensor on a symmetric grid, as ``grids.symmetric_grid``.

    Attributes:
        shape: of the tensor; the first axis is that of the output channels.
        bits: of a code, in [2, 8].
        scales: one for each output channel, float32, positive, shape (shape[0],).
        codes: int8, shape (n,), row by row, in [-(2^(bits-1) - 1), 2^(bits-1) - 1].
    """

    shape: tuple[int, ...]
    bits: int
    scales: NDArray[np.float32]
    codes: NDArray[np.int8]

    def weights(self) -> NDArray[np.float32]:
        """The tensor, float32."""
        rows = self.codes.astype(np.float32).reshape(self.shape[0], -1)
        return (rows * self.scales[:, None]).reshape(self.shape)

    def form(self) -> dict[str, Any]:
        """What a file's description says about the tensor."""
        return {"form": "grid", "shape": list(self.shape), "bits": self.bits}

    def parts(self) -> dict[str, NDArray[Any]]:
        """The arrays of a file."""
        return {"codes": pack_codes(self.codes, self.bits), "scales": self.scales}

    @classmethod
    def from_parts(cls, shape: tuple[int, ...], bits: int, parts: Parts) -> GridWeights:
        """Unpack the arrays of a file.

        Raises:
            ValueError: when they do not form a tensor of this shape.
        """
        scales = finite_array(parts, "scales", 1)
        if len(scales) != shape[0]:
            raise ValueError(f"has {len(scales)} scales for {shape[0]} output channels")
        with np.errstate(over="ignore"):
            ends = scales * np.float32((1 << (bits - 1)) - 1)
        if not (scales > 0).all() or not np.isfinite(ends).all():
            raise ValueError("holds a scale that is not positive, or too large")
        packed = checked_array(parts, "codes", np.uint8, 1)
        return cls(shape, bits, scales, unpack_codes(packed, bits, math.prod(shape)))


PackedTensor: TypeAlias = (
    SharedWeights | GridWeights | SparseWeights | BinaryWeights | KernelWeights
)


def part_names(form: object) -> tuple[str, ...]:
    """Names of the arrays of a tensor that is described like this.

    Raises:
        ValueError: when there is no such form.
    """
    match mapped("its form", form).get("form"):
        case "shared":
            return ("stream", "sizes", "lengths", "codebook")
        case "grid":
            return ("codes", "scales")
        case "sparse":
            return ("values", "gaps")
        case "binary":
            return ("signs", "scales", "thresholds")
        case "kernels":
            return ("sizes", "codebook", "indices")
    raise ValueError("its form is none of 'shared', 'grid', 'sparse', 'binary' and 'kernels'")


def from_form(form: dict[str, Any], parts: Parts) -> PackedTensor:
    """Decode a tensor from its description and its arrays, which may be damaged.

    Args:
        form: from ``form()`` of a tensor; ``part_names`` has accepted it.
        parts: its arrays.

    Raises:
        ValueError: when they do not form a tensor.
    """
    axes = listed("shape", required("it", form, "shape"), 1, _MOST_AXES)
    shape = tuple(whole("an axis", size, 1, _LONGEST_AXIS) for size in axes)
    if form["form"] == "shared":
        return SharedWeights.from_parts(shape, parts)
    if form["form"] == "sparse":
        return SparseWeights.from_parts(shape, parts)
    if form["form"] == "binary":
        return BinaryWeights.from_parts(shape, parts)
    if form["form"] == "kernels":
        return KernelWeights.from_parts(shape, required("it", form, "groups"), parts)
    bits = whole("bits", required("it", form, "bits"), _BITS[0], _BITS[-1])
    return GridWeights.from_parts(shape, bits, parts)


def pack_codes(codes: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Write codes without gaps, the highest bit first.

    Args:
        codes: shape (n,), in [-(2^(bits-1) - 1), 2^(bits-1) - 1].
        bits: of a code, in [2, 8].

    Returns:
        The bytes, shape (ceil(n bits / 8),).
    """
    raised = (codes.astype(np.int16) + ((1 << (bits - 1)) - 1)).astype(np.uint8)
    blocks = [
        np.packbits(np.unpackbits(raised[start : start + _BLOCK, None], axis=1)[:, 8 - bits :])
        for start in range(0, len(raised), _BLOCK)
    ]
    return np.concatenate([np.zeros(0, np.uint8), *blocks])


def unpack_codes(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.int8]:
    """Read what ``pack_codes`` wrote.

    Args:
        count: number of codes.

    Returns:
        The codes, shape (count,).

    Raises:
        ValueError: when the bytes are not those of so many codes, or a code is out of range.
    """
    if len(packed) != -(-count * bits // 8):
        raise ValueError(f"{count} codes of {bits} bits do not have {len(packed)} bytes")
    highest = (1 << (bits - 1)) - 1
    codes = np.empty(count, dtype=np.int8)
    for start in range(0, count, _BLOCK):
        part = codes[start : start + _BLOCK]
        read = packed[start * bits // 8 :]
        rows = np.unpackbits(read[: -(-len(part) * bits // 8)], count=len(part) * bits)
        raised = np.packbits(rows.reshape(-1, bits), axis=1)[:, 0] >> (8 - bits)
        if int(raised.max()) > 2 * highest:
            raise ValueError(f"holds a code above {highest}")
        part[:] = raised.astype(np.int16) - highest
    return codes
