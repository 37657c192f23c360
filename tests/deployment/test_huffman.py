"""Huffman codes: optimal, prefix-free, bit-exact, and safe to read from damaged streams."""

import heapq
from itertools import pairwise

import numpy as np
import pytest

from workbench.deployment.quantisation import huffman
from workbench.deployment.quantisation.huffman import (
    CHUNK,
    LONGEST,
    canonical_codes,
    code_lengths,
    decode,
    encode,
    entropy,
    mean_length,
)


def naive_total(counts):
    """Bits of all symbols with Huffman's code: the sum of all merged counts."""
    heap = [count for count in counts if count]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


def naive_decode(stream, sizes, lengths, count):
    """One bit after the other, with a dictionary of codes; canonical codes are counted up."""
    codes, code, before = {}, 0, 0
    for length, symbol in sorted((n, s) for s, n in enumerate(lengths.tolist()) if n):
        code <<= length - before
        codes[format(code, f"0{length}b")] = symbol
        code, before = code + 1, length
    symbols, at = [], 0
    for size in sizes.tolist():
        bits = "".join(format(byte, "08b") for byte in stream[at : at + size].tolist())
        at, word, found = at + size, "", 0
        for bit in bits:
            if found == min(CHUNK, count - len(symbols) + found):
                break
            word += bit
            if word in codes:
                symbols.append(codes[word])
                word, found = "", found + 1
    return symbols


def counts_of(symbols):
    return np.bincount(symbols, minlength=int(symbols.max(initial=0)) + 1)


def drawn(seed, size, symbols):
    """Symbols of very different frequencies."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(symbols, 0.3))
    return rng.choice(symbols, size, p=shares).astype(np.uint8)


FIBONACCI = [1, 1]
while len(FIBONACCI) < 60:
    FIBONACCI.append(FIBONACCI[-1] + FIBONACCI[-2])
COUNTS = {
    "two": [3, 1],
    "equal": [5] * 256,
    "five equal": [1] * 5,
    "absent": [0, 4, 0, 0, 9, 1, 0],
    "powers": [2**n for n in range(50)],
    "fibonacci": FIBONACCI,
    "one dominates": [10**12] + [1] * 255,
    "random": np.random.default_rng(0).geometric(0.01, 200).tolist(),
}


@pytest.mark.parametrize("name", COUNTS)
def test_a_code_is_complete_and_within_a_bit_of_the_entropy(name):
    counts = np.array(COUNTS[name])
    lengths = code_lengths(counts)
    assert ((lengths > 0) == (counts > 0)).all()
    assert lengths.max() <= LONGEST
    used = lengths[lengths > 0].astype(int)
    assert sum(2 ** (LONGEST - length) for length in used.tolist()) == 2**LONGEST  # Kraft
    assert entropy(counts) - 1e-12 <= mean_length(counts, lengths) < entropy(counts) + 1


@pytest.mark.parametrize("name", ["two", "equal", "five equal", "absent", "random"])
def test_the_total_length_is_that_of_huffmans_algorithm(name):
    counts = np.array(COUNTS[name])
    assert int(counts @ code_lengths(counts).astype(int)) == naive_total(COUNTS[name])


def test_the_limit_costs_the_least_possible():
    # Unlimited, the longest code of n Fibonacci counts has n - 1 bits. By exhaustion over the
    # sorted lengths of complete codes, no code within 3 bits of 6 such counts is shorter.
    counts = np.array(FIBONACCI[:6])
    totals = []

    def extend(lengths, room):
        if len(lengths) == len(counts):
            if room == 0:
                totals.append(int(counts[::-1] @ np.array(lengths)))
            return
        for length in range(lengths[-1] if lengths else 1, 4):
            if 8 >> length <= room:
                extend([*lengths, length], room - (8 >> length))

    extend([], 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huffman, "LONGEST", 3)
        limited = huffman.code_lengths(counts)
    assert int(counts @ limited.astype(int)) == min(totals) > naive_total(FIBONACCI[:6])


@pytest.mark.parametrize("name", COUNTS)
def test_no_code_begins_with_another(name):
    lengths = code_lengths(np.array(COUNTS[name]))
    codes = canonical_codes(lengths)
    words = sorted(
        format(code, f"0{length}b")
        for code, length in zip(codes.tolist(), lengths.tolist(), strict=True)
        if length
    )
    # Among sorted words, one that begins with another follows it.
    assert not any(second.startswith(first) for first, second in pairwise(words))


@pytest.mark.parametrize("size", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 17])
@pytest.mark.parametrize("symbols", [1, 2, 3, 256])
def test_decoding_gives_the_symbols_back_as_the_naive_decoder_does(size, symbols):
    wanted = drawn(size, size, symbols)
    lengths = code_lengths(counts_of(wanted))
    stream, sizes = encode(wanted, lengths)
    assert (decode(stream, sizes, lengths, size) == wanted).all()
    assert naive_decode(stream, sizes, lengths, size) == wanted.tolist()
    spent = int(lengths[wanted].sum(dtype=np.int64))
    assert spent <= 8 * len(stream) < spent + 8 * len(sizes)


def test_several_blocks_are_decoded(monkeypatch):
    wanted = drawn(1, 7 * CHUNK + 3, 40)
    lengths = code_lengths(counts_of(wanted))
    whole = encode(wanted, lengths)
    monkeypatch.setattr(huffman, "_BLOCK", 2)
    for one, other in zip(encode(wanted, lengths), whole, strict=True):
        assert (one == other).all()
    assert (decode(*whole, lengths, len(wanted)) == wanted).all()


def test_codes_of_all_lengths_are_decoded():
    lengths = np.array([*range(1, LONGEST + 1), LONGEST], dtype=np.uint8)
    wanted = np.random.default_rng(2).permutation(np.repeat(np.arange(17), 300)).astype(np.uint8)
    stream, sizes = encode(wanted, lengths)
    assert (decode(stream, sizes, lengths, len(wanted)) == wanted).all()


def test_a_single_symbol_has_one_bit():
    lengths = code_lengths(np.array([0, 7]))
    assert lengths.tolist() == [0, 1]
    stream, sizes = encode(np.ones(7, dtype=np.uint8), lengths)
    assert len(stream) == 1
    assert (decode(stream, sizes, lengths, 7) == 1).all()


def test_nothing_is_encoded_as_nothing():
    lengths = code_lengths(np.zeros(0, dtype=np.int64))
    stream, sizes = encode(np.zeros(0, dtype=np.uint8), lengths)
    assert (len(stream), len(sizes)) == (0, 0)
    assert len(decode(stream, sizes, lengths, 0)) == 0
    assert entropy(np.zeros(3, dtype=np.int64)) == 0


def damaged():
    """Streams of 3000 symbols, each with one thing wrong."""
    wanted = drawn(3, 3000, 30)
    lengths = code_lengths(counts_of(wanted))
    stream, sizes = encode(wanted, lengths)
    swapped, longer = sizes.copy(), lengths.copy()
    swapped[:2] += np.array([1, -1]).astype(np.uint16)
    longer[np.flatnonzero(lengths)[0]] += 1
    one = np.array([1], dtype=np.uint8)
    return {
        "cut": (stream[:-1], sizes, lengths, 3000),
        "longer": (np.append(stream, stream[:1]), sizes, lengths, 3000),
        "chunks moved": (stream, swapped, lengths, 3000),
        "a chunk less": (stream, sizes[:-1], lengths, 3000),
        "a symbol more": (stream, sizes, lengths, 3073),
        "many symbols more": (stream, sizes, lengths, 10**15),
        "fewer symbols": (stream, sizes, lengths, 2900),
        "other lengths": (stream, sizes, longer, 3000),
        "too long": (stream, sizes, np.full(30, 200, np.uint8), 3000),
        "no codes": (stream, sizes, np.zeros(30, np.uint8), 3000),
        "zeros": (np.zeros_like(stream), sizes, lengths, 3000),
        "ones": (np.full_like(stream, 255), sizes, lengths, 3000),
        "no code": (np.array([64], np.uint8), np.array([1], np.uint16), one, 7),
        "lengths of floats": (stream, sizes, lengths.astype(np.float32), 3000),
        "a huge chunk": (stream, np.full(3, 65535, np.uint16), lengths, 3000),
        "too many symbols": (stream, sizes, np.zeros(257, np.uint8), 3000),
    }


@pytest.mark.parametrize("case", damaged())
def test_a_damaged_stream_is_rejected(case):
    with pytest.raises(ValueError, match=r"stream|chunk|code|symbols"):
        decode(*damaged()[case])


@pytest.mark.parametrize("lengths", [[2], [1, 2], [1, 1, 1], [17, 1], [3] * 7 + [0]])
def test_lengths_that_form_no_complete_code_are_rejected(lengths):
    lengths = np.array(lengths, dtype=np.uint8)
    with pytest.raises(ValueError, match=r"complete prefix code|the only code|more than 16 bits"):
        canonical_codes(lengths)
    with pytest.raises(ValueError, match=r"complete prefix code|the only code|more than 16 bits"):
        decode(np.zeros(1, np.uint8), np.ones(1, np.uint16), lengths, 4)


def test_noise_ends_with_symbols_or_an_error():
    wanted = drawn(4, 3000, 200)
    lengths = code_lengths(counts_of(wanted))
    stream, sizes = encode(wanted, lengths)
    rng = np.random.default_rng(5)
    for _ in range(20):
        broken = stream.copy()
        broken[rng.integers(0, len(stream), 3)] ^= 1 << rng.integers(0, 8, 3, dtype=np.uint8)
        try:
            assert len(decode(broken, sizes, lengths, 3000)) == 3000
        except ValueError:
            continue


def test_a_symbol_without_a_code_is_an_error():
    for symbols in ([2], [1]):
        with pytest.raises(ValueError, match="has no code"):
            encode(np.array(symbols, dtype=np.uint8), np.array([1, 0], dtype=np.uint8))
    with pytest.raises(ValueError, match="256"):
        code_lengths(np.ones(257, dtype=np.int64))
