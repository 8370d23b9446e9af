"""L1-distance layers (AdderNet, Chen et al., CVPR 2020): subtractions and absolute values instead of products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..ranges import Int64, Range
from ..types import MAX_BITS
from .base import Array, Op, Shape, int_tuple, integer_array, least_int, plain_int, require
from .windows import axis_index, onnx_windows, out_size, padded, taps, unrolled, window_range

if TYPE_CHECKING:
    from ..onnx_export import OnnxBuilder


def _term_range(x: Range, weights: Int64) -> Range:
    """Range of ``-|x[k] - weights[..., k, n]|`` for every element, flattened; exact on the input's grid."""
    lo, hi = x.lo[:, None] - weights, x.hi[:, None] - weights
    greatest = np.maximum(np.abs(lo), np.abs(hi))
    # Nearest grid point: an end, or the two neighbours of the weight where it lies between the ends.
    rest = (-lo) % x.step
    nearest = np.where((lo < 0) & (hi > 0), np.minimum(rest, x.step - rest), np.minimum(np.abs(lo), np.abs(hi)))
    moving = (greatest != nearest).any()
    step = int(np.gcd(x.step, np.gcd.reduce(np.where(x.lo[:, None] != x.hi[:, None], 2 * lo, 0), axis=None))) if moving else 1
    return Range(-greatest.ravel(), -nearest.ravel(), step)


def _distance(rows: Array, weights: Array) -> Array:
    """-sum_k |rows[m, k] - weights[k, n]| for rows (M, K), weights (K, N): one output at a time, in one buffer."""
    y = np.empty((len(rows), weights.shape[1]), rows.dtype)
    terms = np.empty_like(rows)
    for n in range(weights.shape[1]):
        np.subtract(rows, weights[:, n], out=terms)
        np.abs(terms, out=terms)
        y[:, n] = terms.sum(axis=1, dtype=rows.dtype)
    return np.negative(y, out=y)


def _dtype(op: L1MatMul | L1Conv2d, magnitude: int) -> np.dtype[np.signedinteger]:
    bound = (magnitude + int(np.abs(op.weights).max())) * (op.weights.size // op.weights.shape[-1])
    return least_int(min(-bound, -2**15), bound)


def _onnx_distance(build: OnnxBuilder, columns: str, weights: Int64, groups: int, magnitude: int) -> str:
    """(N, P, KK, C) against weights (KK, C / groups, N): (N, P, N), one difference per term and output."""
    taps_, inputs, outputs = weights.shape
    bound = (magnitude + int(np.abs(weights).max())) * taps_ * inputs
    dtype, points = build.wide(bound), build.extent(columns, 1)
    x = build.reshape(build.cast(columns, dtype), (points, taps_, groups, inputs, 1))
    split = weights.reshape(taps_, inputs, groups, -1).transpose(0, 2, 1, 3)
    terms = build.node("Abs", build.node("Sub", x, build.const(split, dtype)))
    total = build.sum(build.sum(terms, 4, inputs, 6, bound), 2, taps_, 5, bound)
    return build.node("Neg", build.reshape(total, (points, outputs)))


@dataclass(frozen=True, eq=False)
class L1MatMul(Op):
    """``y[..., n] = -sum_k |x[..., k] - weights[k, n]|``.

    Parameters
    ----------
    weights : int64 (K, N)
    """

    weights: NDArray[np.int64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", integer_array(self.weights, 2, "L1MatMul: weights"))

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        require(len(shape) >= 1 and shape[-1] == len(self.weights), f"L1MatMul: the input has shape {shape}, but the weights take "
                f"{len(self.weights)} values along the last axis")
        return (*shape[:-1], self.weights.shape[1])

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        inside = _term_range(inputs[0], self.weights)
        always = np.zeros((1, len(self.weights)), np.int64)
        return window_range(inside, np.zeros((1, *self.weights.shape), np.int64), always[:, :1], always, "L1MatMul")

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        (x,) = inputs
        dtype = _dtype(self, ranges[0].magnitude)
        rows = x.reshape(-1, x.shape[-1]).astype(dtype, copy=False)
        return _distance(rows, self.weights.astype(dtype)).reshape(*x.shape[:-1], -1)

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        (x,) = inputs
        *outer, terms = build.shape(x)
        columns = build.reshape(x, (int(np.prod(outer, dtype=int)), 1, terms))
        y = _onnx_distance(build, columns, self.weights[None], 1, build.range(x).magnitude)
        return build.reshape(y, self.shape(build.shape(x)))


@dataclass(frozen=True, eq=False)
class L1Conv2d(Op):
    """``y[i, j, n] = -sum over a, b, c of |p[i*sh + a*dh, j*sw + b*dw, g(n)*Cg + c] - weights[a, b, c, n]|``.

    p is the input padded with `pad_value`; the padding takes part in the distance, as in AdderNet's own code.

    Parameters
    ----------
    weights : int64 (KH, KW, C / groups, N)
    stride, dilation : (int, int)
    pads : (int, int, int, int)
        Top, left, bottom, right.
    pad_value, groups : int
    """

    weights: NDArray[np.int64]
    stride: Shape = (1, 1)
    dilation: Shape = (1, 1)
    pads: Shape = (0, 0, 0, 0)
    pad_value: int = 0
    groups: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", integer_array(self.weights, 4, "L1Conv2d: weights"))
        for name, length, least in (("stride", 2, 1), ("dilation", 2, 1), ("pads", 4, 0)):
            object.__setattr__(self, name, int_tuple(getattr(self, name), length, least, f"L1Conv2d: {name}"))
        limit = 2**(MAX_BITS - 2)
        object.__setattr__(self, "pad_value", plain_int(self.pad_value, -limit, limit, "L1Conv2d: pad_value"))
        object.__setattr__(self, "groups", plain_int(self.groups, 1, 2**31, "L1Conv2d: groups"))
        require(self.weights.shape[3] % self.groups == 0, f"L1Conv2d: {self.weights.shape[3]} outputs do not split into "
                f"{self.groups} groups; choose a divisor")

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        channels = self.weights.shape[2] * self.groups
        require(len(shape) == 3 and shape[2] == channels, f"L1Conv2d: the input has shape {shape}, but the weights take "
                f"(height, width, {channels})")
        return (*(out_size(shape[i], self.weights.shape[i], self.stride[i], self.dilation[i], self.pads[i], self.pads[i + 2],
                           "L1Conv2d") for i in (0, 1)), self.weights.shape[3])

    def index(self, shape: Shape) -> tuple[Int64, Int64]:
        """Index tables of the rows and of the columns (see `windows`) for an input shape."""
        rows, cols = (axis_index(shape[i], self.weights.shape[i], self.stride[i], self.dilation[i], self.pads[i],
                                 self.pads[i + 2]) for i in (0, 1))
        return rows, cols

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        (x,) = inputs
        kh, kw, per_group, outputs = self.weights.shape
        lo, hi = (np.repeat(b.reshape(self.groups, per_group).T, outputs // self.groups, axis=1) for b in (x.lo, x.hi))
        flat = Range(np.tile(lo, (kh * kw, 1)).ravel(), np.tile(hi, (kh * kw, 1)).ravel(), x.step)
        terms = _term_range(flat, self.weights.reshape(-1, 1))
        # One tap of the window is a sum over its channels; let the sum over taps treat every channel as a tap.
        shape = (kh, kw * per_group, outputs)
        rows, cols = self.index(shapes[0])
        outside = -np.abs(self.pad_value - self.weights).reshape(shape)
        return window_range(terms, outside, rows, np.repeat(cols, per_group, axis=1), "L1Conv2d")

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        (x,) = inputs
        dtype = _dtype(self, max(ranges[0].magnitude, abs(self.pad_value)))
        x = padded(x.astype(dtype, copy=False), self.pads, self.pad_value)
        per_group, outputs = self.weights.shape[2], self.weights.shape[3] // self.groups
        y = np.empty((len(x), *self.shape((x.shape[1] - self.pads[0] - self.pads[2],
                                           x.shape[2] - self.pads[1] - self.pads[3], x.shape[3]))), dtype)
        for g in range(self.groups):
            part = slice(g * outputs, (g + 1) * outputs)
            view = taps(x[..., g * per_group:(g + 1) * per_group], self.weights.shape[:2], self.stride, self.dilation)
            weights = self.weights[..., part].reshape(-1, outputs).astype(dtype)
            for batch, rows, block in unrolled(view, dtype):
                target = y[batch, rows, :, part]
                target[...] = _distance(block, weights).reshape(target.shape)
        return y

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        (x,) = inputs
        columns = onnx_windows(build, x, *self.index(build.shape(x)), self.pad_value)
        kh, kw, per_group, outputs = self.weights.shape
        magnitude = max(build.range(x).magnitude, abs(self.pad_value))
        y = _onnx_distance(build, columns, self.weights.reshape(kh * kw, per_group, outputs), self.groups, magnitude)
        return build.reshape(y, self.shape(build.shape(x)))
