"""Canonical Huffman codes of small alphabets, written and read in chunks.

Idea: a frequent symbol gets a short code. No prefix code has a smaller mean length than Huffman's
(1952), which lies in [H, H + 1) bits for the entropy H. A canonical code orders the codes by
length, then by symbol, so that the lengths alone describe it.

Lengths are at most ``LONGEST`` bits, so that one table with 2^16 entries decodes every symbol.
They come from the package-merge algorithm (Larmore and Hirschberg 1990), which finds the best code
under this limit; without an effect of the limit it is Huffman's.

Symbols are coded in chunks of ``CHUNK``. Each chunk begins with a new byte, and the number of its
bytes is stored, so the decoder reads one symbol of all chunks at a time. This costs about 0.02
bits a symbol. A damaged stream raises ValueError, unless the damage gives other symbols of the
same length: there is no checksum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Symbols of a chunk, except for the last one.
CHUNK = 1024
#: Bits of the longest code.
LONGEST = 16
_SYMBOLS = 256  # a symbol is a byte
_BLOCK = 512  # chunks that are encoded together, which bounds the memory
_MOST_BYTES = CHUNK * LONGEST // 8  # of a chunk

Bytes = NDArray[np.uint8]


def entropy(counts: NDArray[np.int64]) -> float:
    """Entropy in bits of symbols that occur this often; 0 without any."""
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # + 0.0: never -0.0


def mean_length(counts: NDArray[np.int64], lengths: Bytes) -> float:
    """Mean number of bits of a symbol's code; 0 without any symbols."""
    return float(counts @ lengths.astype(np.int64)) / max(1, int(counts.sum()))


def code_lengths(counts: NDArray[np.int64]) -> Bytes:
    """Choose the lengths of the codes that give the smallest total length.

    Args:
        counts: how often each symbol occurs, non-negative, shape (k,), k at most 256.

    Returns:
        Bits of each code, shape (k,): in [1, LONGEST], and 0 for symbols that do not occur. A
        single symbol gets 1 bit.

    Raises:
        ValueError: when there are more symbols, or negative counts.
    """
    if counts.ndim != 1 or len(counts) > _SYMBOLS or (counts < 0).any():
        raise ValueError(f"counts are not at most {_SYMBOLS} non-negative numbers")
    lengths = np.zeros(len(counts), dtype=np.uint8)
    present = np.flatnonzero(counts).tolist()
    if len(present) < 2:
        lengths[present] = 1
        return lengths
    coins = sorted((int(counts[symbol]), (symbol,)) for symbol in present)
    packages: list[tuple[int, tuple[int, ...]]] = []
    for _ in range(LONGEST):
        row = sorted(coins + packages)
        packages = [
            (first[0] + second[0], first[1] + second[1])
            for first, second in zip(row[::2], row[1::2], strict=False)
        ]
    # After the last round there are n - 1 packages; a symbol's length is its number of coins there.
    for _, symbols in packages:
        np.add.at(lengths, list(symbols), 1)
    return lengths


def canonical_codes(lengths: Bytes) -> NDArray[np.uint32]:
    """Number the codes by length, then by symbol.

    Args:
        lengths: shape (k,), as from ``code_lengths``.

    Returns:
        The code of each symbol in its lowest bits, shape (k,); 0 where the length is 0.

    Raises:
        ValueError: when these are not the lengths of a complete code.
    """
    _check_lengths(lengths)
    bits = lengths.astype(np.int64)
    order = np.lexsort((np.arange(len(bits)), bits))
    order = order[bits[order] > 0]
    # Aligned to LONGEST bits, each code begins where the one before ends.
    widths = 1 << (LONGEST - bits[order])
    codes = np.zeros(len(bits), dtype=np.uint32)
    codes[order] = (np.cumsum(widths) - widths) >> (LONGEST - bits[order])
    return codes


def _check_lengths(lengths: Bytes) -> None:
    if lengths.dtype != np.uint8 or lengths.ndim != 1 or len(lengths) > _SYMBOLS:
        raise ValueError(f"code lengths are not at most {_SYMBOLS} bytes")
    used = lengths[lengths > 0].astype(np.int64)
    if (used > LONGEST).any():
        raise ValueError(f"a code length is {used.max()}, more than {LONGEST} bits")
    if len(used) == 1 and used[0] != 1:
        raise ValueError(f"the only code has {used[0]} bits, not 1")
    if len(used) > 1 and (1 << (LONGEST - used)).sum() != 1 << LONGEST:
        raise ValueError("code lengths do not form a complete prefix code")


def encode(symbols: Bytes, lengths: Bytes) -> tuple[Bytes, NDArray[np.uint16]]:
    """Write symbols as a stream of codes.

    Args:
        symbols: shape (n,), each below k.
        lengths: shape (k,), from ``code_lengths`` of these symbols.

    Returns:
        The stream, and the number of bytes of each chunk, shape (ceil(n / CHUNK),).

    Raises:
        ValueError: when a symbol has no code, or the lengths are not those of a complete code.
    """
    codes = canonical_codes(lengths)
    if len(symbols) and (int(symbols.max()) >= len(lengths) or not lengths[symbols].all()):
        raise ValueError("a symbol has no code")
    step = _BLOCK * CHUNK
    blocks = [
        _encode_block(symbols[start : start + step], codes, lengths)
        for start in range(0, len(symbols), step)
    ]
    streams = [stream for stream, _ in blocks]
    sizes = [size for _, size in blocks]
    return (
        np.concatenate([np.zeros(0, np.uint8), *streams]),
        np.concatenate([np.zeros(0, np.uint16), *sizes]),
    )


def _encode_block(
    symbols: Bytes, codes: NDArray[np.uint32], lengths: Bytes
) -> tuple[Bytes, NDArray[np.uint16]]:
    """Write a few chunks: bit j of all codes that have one, for each j."""
    chunks = -(-len(symbols) // CHUNK)
    bits = np.zeros(chunks * CHUNK, dtype=np.int64)
    bits[: len(symbols)] = lengths[symbols]
    ends = bits.reshape(chunks, CHUNK).cumsum(axis=1)
    sizes = -(-ends[:, -1] // 8)
    first = 8 * (np.cumsum(sizes) - sizes)
    starts = (ends + first[:, None]).ravel()[: len(symbols)] - bits[: len(symbols)]
    stream = np.zeros(8 * int(sizes.sum()), dtype=np.uint8)
    for length in np.unique(lengths[symbols]).tolist():
        at = lengths[symbols] == length
        places, values = starts[at], codes[symbols[at]]
        for bit in range(length):
            stream[places + bit] = (values >> (length - 1 - bit)) & 1
    return np.packbits(stream), sizes.astype(np.uint16)


def decode(stream: Bytes, sizes: NDArray[np.uint16], lengths: Bytes, count: int) -> Bytes:
    """Read the symbols of a stream; nothing is allocated before the sizes have been checked.

    Args:
        stream: bytes of all chunks, shape (b,).
        sizes: bytes of each chunk, shape (ceil(count / CHUNK),).
        lengths: bits of each symbol's code, shape (k,).
        count: number of symbols.

    Returns:
        The symbols, shape (count,), each below k.

    Raises:
        ValueError: when the arrays do not fit each other, or the codes do not fill the stream.
    """
    codes = canonical_codes(lengths)
    starts = _chunk_starts(stream, sizes, count)
    if count == 0:
        return np.zeros(0, dtype=np.uint8)
    symbol_of, bits_of = _tables(codes, lengths)
    # The three bytes from each byte on. Damaged codes read at most _MOST_BYTES after their chunk's
    # start, which may be the end of the stream.
    padded = np.concatenate([stream, np.zeros(_MOST_BYTES + 3, np.uint8)]).astype(np.uint32)
    windows = (padded[:-2] << 16) | (padded[1:-1] << 8) | padded[2:]
    at = 8 * starts
    rows = np.zeros((CHUNK, len(sizes)), dtype=np.uint8)
    in_last = count - CHUNK * (len(sizes) - 1)
    for row in range(min(count, CHUNK)):
        active = len(sizes) if row < in_last else len(sizes) - 1
        now = at[:active]
        peek = (windows[now >> 3] >> (8 - (now & 7)).astype(np.uint32)) & 0xFFFF
        rows[row, :active] = symbol_of[peek]
        found = bits_of[peek]
        if not found.all():
            raise ValueError("the stream holds a code that no symbol has")
        now += found
    if (-(-at // 8) != starts + sizes).any():
        raise ValueError("the codes do not fill the stream")
    return rows.T.reshape(-1)[:count].copy()


def _chunk_starts(stream: Bytes, sizes: NDArray[np.uint16], count: int) -> NDArray[np.int64]:
    """Check the sizes of the chunks, and return the byte at which each begins."""
    if stream.dtype != np.uint8 or stream.ndim != 1:
        raise ValueError("the stream is not a row of bytes")
    if sizes.dtype != np.uint16 or sizes.shape != (-(-count // CHUNK),):
        raise ValueError(f"the stream does not have the chunks of {count} symbols")
    total = int(sizes.sum(dtype=np.int64))
    if total != len(stream):
        raise ValueError(f"the chunks have {total} bytes, the stream has {len(stream)}")
    return np.cumsum(sizes, dtype=np.int64) - sizes


def _tables(codes: NDArray[np.uint32], lengths: Bytes) -> tuple[Bytes, Bytes]:
    """For all 2^LONGEST next bits: the symbol, and the bits of its code (0: no symbol)."""
    symbols = np.zeros(1 << LONGEST, dtype=np.uint8)
    bits = np.zeros(1 << LONGEST, dtype=np.uint8)
    for symbol in np.flatnonzero(lengths).tolist():
        length = int(lengths[symbol])
        first = int(codes[symbol]) << (LONGEST - length)
        part = slice(first, first + (1 << (LONGEST - length)))
        symbols[part], bits[part] = symbol, length
    return symbols, bits
