"""Products: every output is a sum of inputs times constant integer weights."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..ranges import Int64, Range, product_bounds
from ..types import MAX_BITS
from . import binary
from .base import Array, Op, Shape, int_tuple, integer_array, plain_int, require
from .windows import axis_index, onnx_windows, out_size, padded, taps, unrolled, window_range

if TYPE_CHECKING:
    from ..onnx_export import OnnxBuilder


class Weights:
    """What operations with an array `weights` share; its terms run along all axes but the last."""

    weights: NDArray[np.int64]

    @functools.cached_property
    def reach(self) -> int:
        """The greatest sum of |weights| into one output: bounds any partial sum for inputs of magnitude 1."""
        terms = np.abs(self.weights).reshape(-1, self.weights.shape[-1])
        rough = float(terms.sum(axis=0, dtype=np.float64).max())
        return int(rough) if rough < 2**53 else int(terms.astype(object).sum(axis=0).max())

    @functools.cached_property
    def _carried(self) -> dict[Any, Array]:
        return {}

    def carried(self, dtype: Any) -> Array:
        """The weights in another dtype, converted once."""
        if dtype not in self._carried:
            self._carried[dtype] = self.weights.astype(dtype)
        return self._carried[dtype]

    def carrier(self, magnitude: int) -> type[np.generic]:
        """The fastest dtype in which sums of products with inputs of a magnitude are proven exact.

        Any partial sum is bounded by ``magnitude * reach`` whatever the order of addition; float32 holds all integers
        up to 2**24 and float64 up to 2**53, so within these BLAS computes the exact integers.
        """
        bound = max(magnitude, 1) * max(self.reach, 1)
        if bound <= 2**24:
            return np.float32
        return np.float64 if bound < 2**53 else np.int64  # a threshold may lie one above the bound

    def packing(self, magnitude: int, terms: int) -> int:
        """The base in which one float32 carries two accumulators, a power of two; 0 if it cannot, or would not pay.

        For ``x = x1 + base * x2`` a product gives ``a1 + base * a2``.  With ``|a| <= A``, ``base > 2A`` and ``A * (base + 1) <=
        2**24`` every partial sum is exact, and rounding ``acc / base`` to the nearest integer gives a2 (a1 / base is below
        one half): one product does the work of two.
        """
        bound = max(magnitude, 1) * max(self.reach, 1)
        base = 1 << (2 * bound).bit_length()
        return base if terms >= 64 and bound * (base + 1) <= 2**24 else 0


def pack(x: Array, base: int) -> Array:
    """The two halves of a batch in one: float32 of half the length; of an odd batch the middle one is in both."""
    half = (len(x) + 1) // 2
    packed = np.multiply(x[len(x) - half:], np.float32(base), dtype=np.float32)
    return np.add(packed, x[:half], out=packed, casting="unsafe")


def unpack(acc: Array, base: int) -> tuple[Array, Array]:
    """The accumulators of the first and of the second half; `acc` is overwritten."""
    high = np.multiply(acc, np.float32(1 / base))
    np.rint(high, out=high)
    acc -= high * np.float32(base)
    return acc, high


@dataclass(frozen=True, eq=False)
class MatMul(Weights, Op):
    """``y[..., n] = sum_k x[..., k] * weights[k, n]``.

    Parameters
    ----------
    weights : int64 (K, N)
    """

    weights: NDArray[np.int64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", integer_array(self.weights, 2, "MatMul: weights"))

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        rows, columns = self.weights.shape
        require(len(shape) >= 1 and shape[-1] == rows,
                f"MatMul: the input has shape {shape}, but the weights take {rows} values along the last axis")
        return (*shape[:-1], columns)

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        (x,) = inputs
        lo, hi = product_bounds(x.lo, x.hi, self.weights, "MatMul")
        # Only channels that move contribute to the step; each moves by multiples of weight * step.
        moving = self.weights[x.lo != x.hi]
        step = int(np.gcd.reduce(moving, axis=None)) * x.step if moving.size else 1
        return Range(lo, hi, step or 1)

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        (x,) = inputs
        carrier = self.carrier(ranges[0].magnitude)
        rows = x.reshape(-1, x.shape[-1])  # one product for all rows, not one per image
        base = self.packing(ranges[0].magnitude, len(self.weights))
        if base and len(rows) > 1:
            low, high = unpack(pack(rows, base) @ self.carried(np.float32), base)
            product = np.concatenate([low, high[len(rows) % 2:]])
        else:
            product = rows.astype(carrier, copy=False) @ self.carried(carrier)
        return product.reshape(*x.shape[:-1], -1)

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        (x,) = inputs
        return build.matmul(x, self.weights, build.range(x), self.reach)


@dataclass(frozen=True, eq=False)
class Conv2d(Weights, Op):
    """``y[i, j, n] = sum over a, b, c of p[i*sh + a*dh, j*sw + b*dw, g(n)*Cg + c] * weights[a, b, c, n]``.

    p is the input padded with `pad_value`; Cg is the number of input channels per group, and ``g(n) = n // (N /
    groups)``.  A 1-D convolution has height 1.  Range: exact, border positions included.

    Parameters
    ----------
    weights : int64 (KH, KW, C / groups, N)
    stride, dilation : (int, int)
        Along height, width.
    pads : (int, int, int, int)
        Rows and columns added at top, left, bottom, right.
    pad_value : int
        What they hold: the integer of real zero, for example -1 or +1 for a bipolar input.
    groups : int
        C of them make a depthwise convolution.
    """

    weights: NDArray[np.int64]
    stride: Shape = (1, 1)
    dilation: Shape = (1, 1)
    pads: Shape = (0, 0, 0, 0)
    pad_value: int = 0
    groups: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", integer_array(self.weights, 4, "Conv2d: weights"))
        for name, length, least in (("stride", 2, 1), ("dilation", 2, 1), ("pads", 4, 0)):
            object.__setattr__(self, name, int_tuple(getattr(self, name), length, least, f"Conv2d: {name}"))
        object.__setattr__(self, "pad_value", plain_int(self.pad_value, -2**MAX_BITS + 1, 2**MAX_BITS - 1, "Conv2d: pad_value"))
        object.__setattr__(self, "groups", plain_int(self.groups, 1, 2**31, "Conv2d: groups"))
        require(self.weights.shape[3] % self.groups == 0, f"Conv2d: {self.weights.shape[3]} outputs do not split into "
                f"{self.groups} groups; choose a divisor")

    @property
    def kernel(self) -> Shape:
        """(KH, KW)."""
        return self.weights.shape[:2]

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        channels = self.weights.shape[2] * self.groups
        require(len(shape) == 3 and shape[2] == channels, f"Conv2d: the input has shape {shape}, but the weights take "
                f"(height, width, {channels})")
        sizes = [out_size(shape[i], self.kernel[i], self.stride[i], self.dilation[i], self.pads[i], self.pads[i + 2], "Conv2d")
                 for i in (0, 1)]
        return (*sizes, self.weights.shape[3])

    def index(self, shape: Shape) -> tuple[Int64, Int64]:
        """Index tables of the rows and of the columns (see `windows`) for an input shape."""
        rows, cols = (axis_index(shape[i], self.kernel[i], self.stride[i], self.dilation[i], self.pads[i], self.pads[i + 2])
                      for i in (0, 1))
        return rows, cols

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        inside = tap_range(inputs[0], self.weights, self.groups, "Conv2d")
        bound = abs(self.pad_value) * self.reach
        require(bound >> MAX_BITS == 0, f"Conv2d: padding with {self.pad_value} can reach {bound}, beyond {MAX_BITS} bits; "
                "use a smaller pad value")
        outside = self.weights.sum(axis=2) * self.pad_value
        return window_range(inside, outside, *self.index(shapes[0]), "Conv2d")

    def evaluate(self, *inputs: Array, ranges: Sequence[Range], then: Callable[[Array], Array] | None = None) -> Array:
        """The output for a batch.

        `then`, for one group only, is an element-wise operation that follows: it is applied to each block of the result
        while that is in the cache, and its results are returned instead.
        """
        (x,) = inputs
        if self.groups == 1 and (not any(self.pads) or abs(self.pad_value) == 1):
            height, width, _ = self.shape(x.shape[1:])
            if binary.pays(ranges[0].type, self.weights, len(x) * height * width * self.weights.size):
                x = padded(x, self.pads, self.pad_value)
                acc = binary.convolve(x, self.weights, (height, width), self.stride, self.dilation)
                return then(acc) if then else acc
        magnitude = max(ranges[0].magnitude, abs(self.pad_value))
        carrier, base = self.carrier(magnitude), self.packing(magnitude, self.weights[..., 0].size)
        x, weights, batch = padded(x, self.pads, self.pad_value), self.carried(self.carrier(magnitude)), len(x)
        inputs_each, outputs = weights.shape[2], weights.shape[3] // self.groups
        if self.groups > 1 and inputs_each == outputs == 1:
            return self._depthwise(x, weights)
        packed = bool(base) and batch > 1
        if packed:
            x = pack(x, base)
        y: Array | None = None
        for g in range(self.groups):
            part = slice(g * outputs, (g + 1) * outputs)
            view = taps(x[..., g * inputs_each:(g + 1) * inputs_each], self.kernel, self.stride, self.dilation)
            matrix = weights[..., part].reshape(-1, outputs)
            for images, rows, block in unrolled(view, carrier):
                acc = (block @ matrix).reshape(images.stop - images.start, -1, view.shape[2], outputs)
                for first, half in zip((0, batch - len(x)), unpack(acc, base) if packed else (acc,), strict=False):
                    piece = then(half) if then else half
                    if y is None:
                        y = np.empty((batch, *view.shape[1:3], weights.shape[3]), piece.dtype)
                    y[first:][images, rows, :, part] = piece
        return y if y is not None else np.empty((0, *view.shape[1:3], weights.shape[3]), carrier)

    def _depthwise(self, x: Array, weights: Array) -> Array:
        windows = taps(x.astype(weights.dtype, copy=False), self.kernel, self.stride, self.dilation)
        y = np.zeros((*windows.shape[:3], weights.shape[3]), weights.dtype)
        for a, b in np.ndindex(*self.kernel):
            y += windows[:, :, :, a, b] * weights[a, b, 0]
        return y

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        (x,) = inputs
        bounds = build.range(x).hull(self.pad_value) if any(self.pads) else build.range(x)
        if build.fits_integer_kernel(bounds, self.weights, self.reach):
            return build.conv_integer(x, self, bounds)
        columns = onnx_windows(build, x, *self.index(build.shape(x)), self.pad_value)
        y = build.grouped_matmul(columns, self.weights, self.groups, bounds, self.reach)
        return build.reshape(y, self.shape(build.shape(x)))


def tap_range(x: Range, weights: Int64, groups: int, where: str) -> Range:
    """What each tap of a (possibly transposed) convolution can add to each output channel.

    Parameters
    ----------
    weights : int64 (KH, KW, C / groups, N)

    Returns
    -------
    Range of (KH * KW * N,) values
    """
    *_, inputs, outputs = weights.shape
    reach = float(x.magnitude) * float(np.abs(weights).sum(axis=2, dtype=np.float64).max())
    require(reach < 2.0**MAX_BITS * 0.99, f"{where}: a value can reach {reach:.3g}, beyond {MAX_BITS} bits; use smaller weights "
            "or requantize before it")
    split = weights.reshape(-1, inputs, groups, outputs // groups)
    lo, hi = x.lo.reshape(groups, inputs), x.hi.reshape(groups, inputs)
    positive, negative = np.maximum(split, 0), np.minimum(split, 0)
    sums = [np.einsum("kcgn,gc->kgn", positive, a) + np.einsum("kcgn,gc->kgn", negative, b) for a, b in ((lo, hi), (hi, lo))]
    moving = split.transpose(2, 1, 0, 3)[lo != hi]
    step = int(np.gcd.reduce(moving, axis=None)) * x.step if moving.size else 1
    return Range(sums[0].ravel(), sums[1].ravel(), step or 1)
