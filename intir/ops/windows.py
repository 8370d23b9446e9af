"""Sliding windows, shared by convolutions and pools.

Along one spatial axis, output ``o`` and tap ``k`` meet input ``index[o, k]``, or the padding where that is -1.  From
these small tables come the range rules (which taps can be padding together), the ONNX export (one Gather) and the
transposed convolution; the numpy evaluation uses strided views instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..ranges import Int64, Range
from ..types import MAX_BITS
from .base import Array, Shape, require

if TYPE_CHECKING:
    from ..onnx_export import OnnxBuilder

#: Bytes of one block of unrolled windows: it should stay in a core's cache between its writing and its product.
BLOCK_BYTES = 1 << 20
#: Entries that an index table may have; keeps a hostile file from allocating gigabytes.
MAX_TABLE = 2**22


def out_size(size: int, kernel: int, stride: int, dilation: int, before: int, after: int, where: str) -> int:
    """Outputs along one axis.  Raises GraphError if the padded input is smaller than the window."""
    reach = dilation * (kernel - 1) + 1
    require(size + before + after >= reach, f"{where}: a window that reaches over {reach} does not fit an input of {size} "
            f"padded by {before} and {after}; pad more or shrink the kernel")
    count = (size + before + after - reach) // stride + 1
    require(count * kernel <= MAX_TABLE, f"{where}: {count} windows of {kernel} taps along one axis are beyond 2**22; "
            "split the layer")
    return count


def axis_index(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> Int64:
    """Input position of every (output, tap), -1 in the padding; int64 (outputs, kernel)."""
    count = (size + before + after - dilation * (kernel - 1) - 1) // stride + 1
    at = np.arange(count)[:, None] * stride + np.arange(kernel) * dilation - before
    return np.where((at >= 0) & (at < size), at, -1)


def transposed_index(size: int, kernel: int, stride: int, dilation: int, before: int, count: int) -> Int64:
    """The same for a transposed convolution with `count` outputs: output o reads input i at tap k where
    ``o + before = i * stride + k * dilation``."""
    at = np.arange(count)[:, None] + before - np.arange(kernel) * dilation
    return np.where((at % stride == 0) & (at >= 0) & (at < size * stride), at // stride, -1)


def window_range(inside: Range, outside: Int64, rows: Int64, cols: Int64, where: str) -> Range:
    """Exact range of a sum over windows, over all positions.

    Parameters
    ----------
    inside : Range of (KH * KW * N,) values
        What tap (kh, kw) adds to output channel n where it meets the input.
    outside : int64 (KH, KW, N)
        What it adds where it meets the padding.
    rows, cols : int64 (OH, KH), (OW, KW)
        Index tables.
    """
    shape = outside.shape
    lo, hi = inside.lo.reshape(shape), inside.hi.reshape(shape)
    reach = np.maximum(np.maximum(np.abs(lo), np.abs(hi)), np.abs(outside)).astype(np.float64).sum(axis=(0, 1)).max()
    require(reach < 2.0**MAX_BITS * 0.99, f"{where}: a value can reach {reach:.3g}, beyond {MAX_BITS} bits; use smaller weights "
            "or requantize before it")
    sums = []
    row_masks, col_masks = (_patterns(index >= 0) for index in (rows, cols))
    for bound in (lo, hi):
        by_row = np.tensordot(row_masks, bound - outside, axes=(1, 0))  # (patterns, KW, N)
        sums.append(np.einsum("cw,rwn->rcn", col_masks, by_row).reshape(-1, shape[2]) + outside.sum(axis=(0, 1)))
    offsets = np.gcd.reduce(sums[0] - sums[0][0], axis=None)
    return Range(sums[0].min(axis=0), sums[1].max(axis=0), int(np.gcd(offsets, inside.pace)) or 1)


def _patterns(inside: NDArray[np.bool_]) -> Int64:
    """The different rows of a table of bits (outputs, taps), as 0 and 1."""
    packed = np.packbits(inside, axis=1)
    if packed.shape[1] <= 8:  # one sortable word per row: tables have millions of rows only where rows are short
        words = np.zeros((len(packed), 8), np.uint8)
        words[:, :packed.shape[1]] = packed
        kept = np.unique(words.view(np.uint64)).view(np.uint8).reshape(-1, 8)[:, :packed.shape[1]]
    else:
        kept = np.unique(packed, axis=0)
    return np.unpackbits(kept, axis=1, count=inside.shape[1]).astype(np.int64)


def _holds(dtype: np.dtype[Any], value: int) -> bool:
    """Whether a dtype holds an integer exactly."""
    if dtype.kind == "f":
        return abs(value) <= (2**24 if dtype.itemsize == 4 else 2**53)
    return bool(np.iinfo(dtype).min <= value <= np.iinfo(dtype).max)


def padded(x: Array, pads: Shape, value: int) -> Array:
    """x (N, H, W, C) with `pads` (top, left, bottom, right) rows and columns of `value`."""
    if not any(pads):
        return x
    top, left, bottom, right = pads
    n, height, width, channels = x.shape
    dtype = x.dtype
    if not _holds(dtype, value):
        dtype = np.dtype(np.int64)  # the array holds integers, whatever its dtype
    out = np.empty((n, height + top + bottom, width + left + right, channels), dtype)
    out[:, :top] = out[:, top + height:] = value
    out[:, :, :left] = out[:, :, left + width:] = value
    out[:, top:top + height, left:left + width] = x
    return out


def taps(x: Array, kernel: Shape, stride: Shape, dilation: Shape) -> Array:
    """View (N, OH, OW, KH, KW, C) of all windows of a padded x (N, H, W, C); nothing is copied."""
    n, height, width, channels = x.shape
    count = [(size - d * (k - 1) - 1) // s + 1
             for size, k, s, d in zip((height, width), kernel, stride, dilation, strict=True)]
    sn, sh, sw, sc = x.strides
    return np.lib.stride_tricks.as_strided(
        x, (n, *count, *kernel, channels),
        (sn, sh * stride[0], sw * stride[1], sh * dilation[0], sw * dilation[1], sc), writeable=False)


def unrolled(view: Array, dtype: Any) -> Iterator[tuple[slice, slice, Array]]:
    """Blocks of the windows as matrices.

    Yields (batch, rows, matrix (n * r * OW, KH * KW * C) of `dtype`); the matrix is overwritten by the next block.
    """
    n, height, width = view.shape[:3]
    terms = int(np.prod(view.shape[3:]))
    row_bytes = width * terms * np.dtype(dtype).itemsize
    rows = max(1, min(height, BLOCK_BYTES // row_bytes))
    images = max(1, min(n, BLOCK_BYTES // (row_bytes * height))) if rows == height else 1
    buffer = np.empty(images * rows * width * terms, dtype)
    for i in range(0, n, images):
        for r in range(0, height, rows):
            part = view[i:i + images, r:r + rows]
            block = buffer[:part.size].reshape(part.shape)
            np.copyto(block, part, casting="unsafe")  # the values fit, whatever the dtypes
            yield slice(i, i + len(part)), slice(r, r + rows), block.reshape(-1, terms)


def onnx_windows(build: OnnxBuilder, x: str, rows: Int64, cols: Int64, value: int) -> str:
    """All windows as an ONNX tensor (N, OH * OW, KH * KW, C): flatten, append one pixel of padding, gather."""
    height, width, channels = build.shape(x)
    at = np.where((rows >= 0)[:, None, :, None] & (cols >= 0)[None, :, None, :],
                  rows[:, None, :, None] * width + cols[None, :, None, :], height * width)
    index: NDArray[np.int64] = at.reshape(rows.shape[0] * cols.shape[0], -1)
    flat = build.reshape(x, (height * width, channels))
    if (index == height * width).any():
        flat = build.pad(flat, (0, 0), (1, 0), value)
    return build.node("Gather", flat, build.const(index, np.int64), axis=1, dtype=build.dtype(flat))
