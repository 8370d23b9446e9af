"""One array as a few byte streams: as it is, by a codebook with Huffman codes, or by codes of nonzeros and gaps.

Values are told apart by their bits, so that what is decoded is the same to the bit, negative zeros included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..errors import CompressionError
from . import huffman

Array = NDArray[Any]
Int64 = NDArray[np.int64]

#: Types that an array may have, little-endian; text of a header.
DTYPES: Final = ("<f2", "<f4", "<f8", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "|b1")
_INTEGERS: Final = DTYPES[3:11]
CODINGS: Final = {"raw": 1, "huffman": 3, "sparse": 5}  # and how many streams each has, without scales
MAX_SYMBOLS: Final = 1 << 16
GAP_BITS: Final = range(1, 17)


@dataclass(frozen=True)
class Coded:
    """An array in streams.

    Members
    -------
    shape, dtype
        Of the array.
    coding : ``raw``, ``huffman`` or ``sparse``
    stored : str
        Type of the values in the first stream.
    gap_bits : int
        Of a sparse array, else 0.
    scale_shape : tuple, optional
        The values times scales of this shape make the array; the scales are a last stream, of the array's type.
    streams
        ``raw``: values.  ``huffman``: codebook, lengths of words, coded symbols.  ``sparse``: codebook, lengths and codes of
        symbols, lengths and codes of gaps; a count of 8 bytes leads the first coded stream.
    entropy_bits : float
        Of all coded symbols; 0 for a raw array.
    """

    shape: tuple[int, ...]
    dtype: str
    coding: str
    stored: str
    gap_bits: int
    scale_shape: tuple[int, ...] | None
    streams: tuple[bytes, ...]
    entropy_bits: float = 0.0

    @property
    def size(self) -> int:
        """Bytes of all streams."""
        return sum(map(len, self.streams))

    @property
    def word_bytes(self) -> int:
        """Bytes of the words of all coded symbols."""
        if self.coding == "sparse":
            return len(self.streams[2]) - 8 + len(self.streams[4])
        return len(self.streams[2]) if self.coding == "huffman" else 0

    @property
    def symbols(self) -> int:
        """Coded symbols: those of a sparse array are its entries' codes and gaps."""
        if self.coding == "sparse":
            return 2 * int.from_bytes(self.streams[2][:8], "little")
        return math.prod(self.shape) if self.coding == "huffman" else 0


def encoded(name: str, array: Array, scale: Array | None, gap_bits: int) -> Coded:
    """An array in the coding that takes the fewest bytes.

    Parameters
    ----------
    name
        For errors.
    array
        Of a type in `DTYPES`, of any shape.
    scale
        What integers are worth, of a shape that broadcasts to the array's: then integers are stored where that is exact.
    gap_bits
        Of a gap in a sparse array, 1 to 16.

    Raises
    ------
    CompressionError
        The type is none of these, or a value isn't finite.
    """
    dtype = array.dtype.newbyteorder("<").str if array.dtype.itemsize > 1 else array.dtype.str
    if dtype not in DTYPES:
        raise CompressionError(f"tensor `{name}` is of type {array.dtype}, which the format doesn't have: convert it to float32")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise CompressionError(f"tensor `{name}` holds {array[~np.isfinite(array)].flat[0]}: numbers must be finite")
    array = np.ascontiguousarray(array, np.dtype(dtype)).reshape(array.shape)
    candidates = [_best(array, dtype, gap_bits)]
    if scale is not None and (integers := _integers(array, scale)) is not None:
        plain = _best(integers, dtype, gap_bits)
        kept = np.ascontiguousarray(scale, np.dtype(dtype))
        candidates.append(replace(plain, scale_shape=scale.shape, streams=(*plain.streams, kept.tobytes())))
    return min(candidates, key=lambda one: one.size)


def decoded(coded: Coded) -> Array:
    """The array; trusts nothing but that its size is no more than is wanted.

    Raises
    ------
    CompressionError
        The streams contradict each other or the header.
    """
    dtype, stored, count = np.dtype(coded.dtype), np.dtype(coded.stored), math.prod(coded.shape)
    streams = coded.streams
    if len(streams) != CODINGS[coded.coding] + (coded.scale_shape is not None):
        raise CompressionError(f"an array that is {coded.coding} has not {len(streams)} streams")
    scales: Array | None = None
    if coded.scale_shape is not None:
        scales = _values(streams[-1], dtype, math.prod(coded.scale_shape)).reshape(coded.scale_shape)
    if coded.coding == "raw":
        values = _values(streams[0], stored, count)
    else:
        codebook = _values(streams[0], stored, len(streams[0]) // stored.itemsize)
        symbols = _symbols(coded, count)
        if len(symbols) and int(symbols.max()) >= len(codebook):
            raise CompressionError(f"the symbol {symbols.max()} is none of {len(codebook)} in the codebook")
        values = codebook[symbols]
    if stored != dtype and scales is None and not (stored.kind in "iu" and dtype.kind in "iu"):
        raise CompressionError(f"values of type {stored} are not those of an array of type {dtype}")
    whole = values.astype(dtype).reshape(coded.shape)
    if scales is None:
        return whole
    try:
        scaled: Array = whole * scales
    except ValueError as error:
        raise CompressionError("the scales don't fit the array") from error
    if scaled.shape != whole.shape:
        raise CompressionError(f"scales of shape {scales.shape} don't fit an array of shape {whole.shape}")
    return scaled


def _symbols(coded: Coded, count: int) -> Int64:
    streams = coded.streams
    if coded.coding == "huffman":
        return huffman.decode(streams[1], streams[2], count)
    entries = int.from_bytes(streams[2][:8], "little")
    if len(streams[2]) < 8 or entries > count:
        raise CompressionError(f"a sparse array of {count} values can't have {entries} entries")
    codes = huffman.decode(streams[1], streams[2][8:], entries)
    gaps = huffman.decode(streams[3], streams[4], entries)
    if len(gaps) and int(gaps.max()) >> coded.gap_bits:
        raise CompressionError(f"a gap of {gaps.max()} takes more than {coded.gap_bits} bits")
    return huffman.absolute(codes, gaps, count)


def _best(values: Array, dtype: str, gap_bits: int) -> Coded:
    """Of all codings of values the one with the fewest bytes; integers are stored in their least type."""
    stored = _least(values)
    values = values.astype(stored)
    raw = Coded(values.shape, dtype, "raw", stored, 0, None, (values.tobytes(),))
    bits = values.view(f"u{values.itemsize}").ravel() if values.size else np.zeros(0, np.uint8)
    different, symbols = np.unique(bits, return_inverse=True)
    if not len(different) or len(different) > MAX_SYMBOLS:
        return raw
    # 0 is the first symbol, which a sparse array leaves out; its bits are the least there are.
    symbols = symbols.reshape(-1).astype(np.int64)
    book = different
    if different[0] != 0:
        book, sparse = np.concatenate([different[:1] * 0, different]), symbols + 1
    else:
        sparse = symbols
    codes, gaps = huffman.relative(sparse, gap_bits)
    best = raw
    # The codings with the fewest bytes that there can be first: what can't be better is not coded at all.
    for entropy, book_of, coding in sorted([
            (huffman.entropy_bits(symbols), different, "huffman"),
            (huffman.entropy_bits(codes) + huffman.entropy_bits(gaps), book, "sparse")], key=lambda one: one[0]):
        if book_of.nbytes + len(book_of) + entropy / 8 >= best.size:
            continue
        parts = [huffman.encode(one) for one in ((symbols,) if coding == "huffman" else (codes, gaps))]
        streams = [stream for part in parts if part is not None for stream in part]
        if coding == "sparse" and len(streams) == 4:
            streams[1] = len(codes).to_bytes(8, "little") + streams[1]
        new = Coded(values.shape, dtype, coding, stored, gap_bits if coding == "sparse" else 0, None,
                    (book_of.tobytes(), *streams), entropy)
        if None not in parts and new.size < best.size:
            best = new
    return best


def _least(values: Array) -> str:
    """The smallest type that holds the values; that of reals is theirs."""
    if values.dtype.kind not in "iu" or not values.size:
        return values.dtype.str
    low, high = int(values.min()), int(values.max())
    return next(one for one in _INTEGERS if np.iinfo(one).min <= low and high <= np.iinfo(one).max)


def _integers(array: Array, scale: Array) -> Array | None:
    """Integers that times the scale are the array to the bit, or None."""
    if array.dtype.kind != "f" or not np.isfinite(scale).all() or not (scale != 0).all() or not array.size:
        return None
    scale = np.asarray(scale, array.dtype)
    try:
        levels = np.rint(array / scale)
        back = levels * scale
    except ValueError:
        return None
    if levels.shape != array.shape or np.abs(levels).max() >= 1 << 15:
        return None
    integers = levels.astype(np.int64)
    back = integers.astype(array.dtype) * scale  # an integer has no negative zero
    same = np.array_equal(back.view(f"u{array.itemsize}"), array.view(f"u{array.itemsize}"))
    return integers if same else None


def _values(data: bytes, dtype: np.dtype[Any], count: int) -> Array:
    if len(data) != count * dtype.itemsize:
        raise CompressionError(f"{len(data)} bytes are not {count} values of type {dtype}")
    if dtype.kind == "b" and data.strip(b"\0\1"):
        raise CompressionError("a truth value is neither 0 nor 1")
    values = np.frombuffer(data, dtype)
    if dtype.kind == "f" and not np.isfinite(values).all():
        raise CompressionError("a number isn't finite")
    return values
