"""Pools: the maximum or the sum over windows.

Average pooling is a sum followed by `Requant` with the rounding that the source network has.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ranges import Int64, Range
from ..types import MAX_BITS
from .base import Array, Op, Shape, int_tuple, least_int, plain_int, require
from .windows import axis_index, onnx_windows, out_size, padded

if TYPE_CHECKING:
    from ..onnx_export import OnnxBuilder


def _check(op: MaxPool2d | SumPool2d) -> None:
    for name, length, least in (("kernel", 2, 1), ("stride", 2, 1), ("dilation", 2, 1), ("pads", 4, 0)):
        object.__setattr__(op, name, int_tuple(getattr(op, name), length, least, f"{op.kind}: {name}"))


def _shape(op: MaxPool2d | SumPool2d, shape: Shape) -> Shape:
    require(len(shape) == 3, f"{op.kind}: the input has shape {shape}; it needs height, width and channels")
    sizes = [out_size(shape[i], op.kernel[i], op.stride[i], op.dilation[i], op.pads[i], op.pads[i + 2], op.kind) for i in (0, 1)]
    return (*sizes, shape[2])


def _index(op: MaxPool2d | SumPool2d, shape: Shape) -> tuple[Int64, Int64]:
    rows, cols = (axis_index(shape[i], op.kernel[i], op.stride[i], op.dilation[i], op.pads[i], op.pads[i + 2]) for i in (0, 1))
    return rows, cols


def _separably(combine: np.ufunc, x: Array, op: MaxPool2d | SumPool2d, dtype: np.dtype[Any]) -> Array:
    """A pool of a padded x, first down the rows, then along the columns."""
    for axis in (1, 2):
        size, stride, dilation = op.kernel[axis - 1], op.stride[axis - 1], op.dilation[axis - 1]
        span = x.shape[axis] - dilation * (size - 1)
        parts = [x[(slice(None),) * axis + (slice(k * dilation, k * dilation + span, stride),)] for k in range(size)]
        x = parts[0].astype(dtype)
        for part in parts[1:]:
            combine(x, part, out=x, casting="unsafe")
    return x


@dataclass(frozen=True, eq=False)
class MaxPool2d(Op):
    """``y[i, j, c] = max over a, b of x[i*sh + a*dh - top, j*sw + b*dw - left, c]``; padding never wins.

    Range: exact.

    Parameters
    ----------
    kernel, stride, dilation : (int, int)
    pads : (int, int, int, int)
        Top, left, bottom, right; each window must meet the input.
    """

    kernel: Shape
    stride: Shape
    dilation: Shape = (1, 1)
    pads: Shape = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        _check(self)

    def shape(self, *shapes: Shape) -> Shape:
        result = _shape(self, shapes[0])
        require(all(bool((index >= 0).any(axis=1).all()) for index in _index(self, shapes[0])),
                f"MaxPool2d: with pads {self.pads} a window of {self.kernel} lies wholly in the padding; pad less")
        return result

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        return inputs[0]

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        (x,) = inputs
        x = padded(x, self.pads, int(ranges[0].lo.min()))
        return _separably(np.maximum, x, self, x.dtype)

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        (x,) = inputs
        # onnxruntime's MaxPool has 8-bit kernels, for pads below the kernel's size.
        if build.dtype(x).itemsize == 1 and all(pad < self.kernel[i % 2] for i, pad in enumerate(self.pads)):
            planes = build.node("MaxPool", build.transpose(x, (2, 0, 1)), kernel_shape=self.kernel, strides=self.stride,
                                dilations=self.dilation, pads=self.pads)
            return build.transpose(planes, (1, 2, 0))
        columns = onnx_windows(build, x, *_index(self, build.shape(x)), int(build.range(x).lo.min()))
        columns = build.cast(columns, build.wide(build.range(x).magnitude))
        tap = [build.node("Gather", columns, build.const(np.array(k), np.int64), axis=2) for k in range(math.prod(self.kernel))]
        y = functools.reduce(build.greater, tap)
        return build.reshape(y, self.shape(build.shape(x)))


@dataclass(frozen=True, eq=False)
class SumPool2d(Op):
    """``y[i, j, c] = sum over a, b of p[i*sh + a*dh, j*sw + b*dw, c]``, p padded with `pad_value`.

    Range: exact, border positions included.

    Parameters
    ----------
    kernel, stride, dilation : (int, int)
    pads : (int, int, int, int)
        Top, left, bottom, right.
    pad_value : int
    """

    kernel: Shape
    stride: Shape
    dilation: Shape = (1, 1)
    pads: Shape = (0, 0, 0, 0)
    pad_value: int = 0

    def __post_init__(self) -> None:
        _check(self)
        limit = 2**(MAX_BITS - 1)
        object.__setattr__(self, "pad_value", plain_int(self.pad_value, -limit, limit, "SumPool2d: pad_value"))

    def shape(self, *shapes: Shape) -> Shape:
        require(math.prod(self.kernel) <= 2**20, f"SumPool2d: a kernel of {self.kernel} is beyond 2**20 taps; split the pool")
        return _shape(self, shapes[0])

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        (x,) = inputs
        # The sum is linear in how many taps of a window meet the input, so the least and the greatest count bound it.
        rows, cols = (np.unique((index >= 0).sum(axis=1)) for index in _index(self, shapes[0]))
        counts = np.array([rows[0] * cols[0], rows[-1] * cols[-1]])
        row_step, col_step = (int(np.gcd.reduce(np.diff(one), initial=0)) for one in (rows, cols))
        apart = math.gcd(row_step * int(cols[0]), col_step * int(rows[0]), row_step * col_step)
        total = math.prod(self.kernel)
        reach = total * max(x.magnitude, abs(self.pad_value))
        require(reach >> MAX_BITS == 0, f"SumPool2d: a sum can reach {reach}, beyond {MAX_BITS} bits; requantize before it")
        lo, hi = (counts[:, None] * bound + (total - counts[:, None]) * self.pad_value for bound in (x.lo, x.hi))
        step = math.gcd(x.pace, apart * int(np.gcd.reduce(x.lo - self.pad_value)))
        return Range(lo.min(axis=0), hi.max(axis=0), step or 1)

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        (x,) = inputs
        bound = math.prod(self.kernel) * max(ranges[0].magnitude, abs(self.pad_value))
        dtype = least_int(-bound, bound)
        # Converted first: a sum of carried floats could outgrow what floats hold.
        return _separably(np.add, padded(x, self.pads, self.pad_value).astype(dtype, copy=False), self, dtype)

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        (x,) = inputs
        columns = onnx_windows(build, x, *_index(self, build.shape(x)), self.pad_value)
        bound = math.prod(self.kernel) * max(build.range(x).magnitude, abs(self.pad_value))
        wide = build.cast(columns, build.wide(bound))
        y = build.sum(wide, 2, math.prod(self.kernel), 4, bound)
        return build.reshape(y, self.shape(build.shape(x)))


@dataclass(frozen=True, eq=False)
class GlobalSumPool(Op):
    """``y[c] = sum of x[..., c]`` over all axes but the channels; the output has shape (C,).

    Range: exact.
    """

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        require(len(shape) >= 2, f"GlobalSumPool: the input has shape {shape}; it needs an axis to sum over and the channels")
        return shape[-1:]

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        (x,) = inputs
        count = math.prod(shapes[0][:-1])
        require((count * x.magnitude) >> MAX_BITS == 0, f"GlobalSumPool: a sum can reach {count * x.magnitude}, beyond {MAX_BITS} "
                "bits; requantize before it")
        return Range(x.lo * count, x.hi * count, x.step)

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        (x,) = inputs
        rows = x.reshape(len(x), -1, x.shape[-1])
        exact = x.dtype.kind == "f" and rows.shape[1] * ranges[0].magnitude < 2**53
        total: Array = rows.sum(axis=1, dtype=np.float64) if exact else rows.astype(np.int64, copy=False).sum(axis=1)
        return total

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        (x,) = inputs
        count, channels = math.prod(build.shape(x)[:-1]), build.shape(x)[-1]
        bound = count * build.range(x).magnitude
        return build.sum(build.cast(build.reshape(x, (count, channels)), build.wide(bound)), 1, count, 3, bound)
