"""Huffman codes of whole numbers, and the sparse form of Deep Compression: codes of nonzeros and the gaps between them.

A canonical code is stored as the lengths of its words, one byte for each symbol up to the largest that occurs.  The words
themselves follow from the lengths.

Source: Han and others, "Deep Compression", 2016, sections 2 (relative indices with padding entries) and 4 (Huffman coding).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from bitarray import bitarray
from bitarray.util import canonical_decode, canonical_huffman
from numpy.typing import NDArray

from ..errors import CompressionError

Int64 = NDArray[np.int64]
#: Longest word that the decoder takes; to need more, a tensor would have some million weights of Fibonacci's counts.
MAX_WORD_BITS: Final = 31


def encode(symbols: Int64) -> tuple[bytes, bytes] | None:
    """Lengths of words and the coded symbols; None where a word would be longer than `MAX_WORD_BITS`.

    Parameters
    ----------
    symbols
        Whole numbers from 0; small ones, as the lengths are those of all symbols up to the largest.

    A single symbol takes 1 bit each time it occurs.
    """
    if not len(symbols):
        return b"", b""
    counts = np.bincount(symbols)
    words, per_length, order = canonical_huffman({int(symbol): int(counts[symbol]) for symbol in np.flatnonzero(counts)})
    if len(per_length) > MAX_WORD_BITS + 1:
        return None
    # bitarray gives words of equal length to symbols in any order: here to smaller ones first, so that lengths say all.
    ranked = sorted(order, key=lambda symbol: (len(words[symbol]), symbol))
    words = {symbol: words[old] for symbol, old in zip(ranked, order, strict=True)}
    lengths = bytearray(len(counts))
    for symbol, word in words.items():
        lengths[symbol] = len(word)
    coded = bitarray(endian="big")
    coded.encode(words, symbols.tolist())
    return bytes(lengths), coded.tobytes()


def decode(lengths: bytes, coded: bytes, count: int) -> Int64:
    """The inverse of `encode`; trusts nothing.

    Parameters
    ----------
    lengths, coded
        As `encode` gives them.
    count
        Of symbols.  Each takes at least a bit, so no more memory is used than the coded bytes allow for.

    Raises
    ------
    CompressionError
        The lengths are those of no complete code, or the coded bytes don't hold exactly so many symbols.
    """
    if not count:
        if lengths or coded:
            raise CompressionError("a code is given for no symbols")
        return np.zeros(0, np.int64)
    if count > 8 * len(coded):
        raise CompressionError(f"{count} symbols are claimed in {len(coded)} bytes")
    sizes = np.frombuffer(lengths, np.uint8).astype(np.int64)
    used = np.flatnonzero(sizes)
    if not len(used) or sizes.max() > MAX_WORD_BITS:
        raise CompressionError(f"a Huffman code has words of 1 to {MAX_WORD_BITS} bits")
    room = int((1 << (MAX_WORD_BITS - sizes[used])).sum())
    if room != 1 << MAX_WORD_BITS and not (len(used) == 1 and sizes[used[0]] == 1):
        raise CompressionError("the lengths of words belong to no complete Huffman code")
    order = used[np.argsort(sizes[used], kind="stable")]
    bits = bitarray(endian="big")
    bits.frombytes(coded)
    try:
        found = np.fromiter(canonical_decode(bits, np.bincount(sizes[used]).tolist(), order.tolist()), np.int64, count)
    except (ValueError, IndexError) as error:
        raise CompressionError("the coded symbols end too early or hold a word that is none") from error
    needed = int(sizes[found].sum())
    if (needed + 7) // 8 != len(coded) or bits[needed:].any():
        raise CompressionError("the coded symbols are followed by others")
    return found


def relative(symbols: Int64, gap_bits: int) -> tuple[Int64, Int64]:
    """Entries of a sparse list: each nonzero symbol, and how many zeros it skips.

    A gap that `gap_bits` bits can't hold takes padding entries: symbol 0 behind ``2**gap_bits - 1`` zeros.  Zeros behind the last
    nonzero take none.

    Returns
    -------
    Symbols and gaps of the entries.
    """
    places = np.flatnonzero(symbols)
    skipped = np.diff(places, prepend=-1) - 1
    pads = skipped >> gap_bits  # a padding entry stands for 2**gap_bits places
    last = np.cumsum(pads + 1) - 1
    entries = int(last[-1]) + 1 if len(last) else 0
    codes, gaps = np.zeros(entries, np.int64), np.full(entries, (1 << gap_bits) - 1, np.int64)
    codes[last], gaps[last] = symbols[places], skipped & ((1 << gap_bits) - 1)
    return codes, gaps


def absolute(codes: Int64, gaps: Int64, count: int) -> Int64:
    """The inverse of `relative`: `count` symbols.  Raises CompressionError if an entry lies beyond them."""
    places = np.cumsum(gaps + 1) - 1
    if len(places) and places[-1] >= count:
        raise CompressionError(f"an entry lies at {places[-1]} of {count}")
    symbols = np.zeros(count, np.int64)
    symbols[places] = codes
    return symbols


def entropy_bits(symbols: Int64) -> float:
    """The least number of bits that a code of symbols one by one needs."""
    counts = np.bincount(symbols)
    counts = counts[counts > 0]
    return float((counts * np.log2(len(symbols) / counts)).sum()) if len(symbols) else 0.0
