"""Transposed convolution: every input spreads over the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..ranges import Int64, Range
from .base import Array, Op, Shape, int_tuple, integer_array, plain_int, require
from .products import Weights, tap_range
from .windows import MAX_TABLE, onnx_windows, transposed_index, window_range

if TYPE_CHECKING:
    from ..onnx_export import OnnxBuilder


@dataclass(frozen=True, eq=False)
class ConvTranspose2d(Weights, Op):
    """``y[i, j, n] = sum of x[u, v, g(n)*Cg + c] * weights[a, b, c, n]`` over all a, b, c, u, v with
    ``i + top = u*sh + a*dh`` and ``j + left = v*sw + b*dw``.

    The output has ``(H - 1)*sh + dh*(KH - 1) + 1 - top - bottom + extra_h`` rows, and columns alike.  Range: exact.

    Parameters
    ----------
    weights : int64 (KH, KW, C / groups, N)
    stride, dilation : (int, int)
    pads : (int, int, int, int)
        Rows and columns cut off at top, left, bottom, right.
    extra : (int, int)
        Rows and columns added at bottom and right (ONNX: output_padding), below the stride.
    groups : int
    """

    weights: NDArray[np.int64]
    stride: Shape = (1, 1)
    dilation: Shape = (1, 1)
    pads: Shape = (0, 0, 0, 0)
    extra: Shape = (0, 0)
    groups: int = 1

    def __post_init__(self) -> None:
        where = "ConvTranspose2d"
        object.__setattr__(self, "weights", integer_array(self.weights, 4, f"{where}: weights"))
        for name, length, least in (("stride", 2, 1), ("dilation", 2, 1), ("pads", 4, 0), ("extra", 2, 0)):
            object.__setattr__(self, name, int_tuple(getattr(self, name), length, least, f"{where}: {name}"))
        object.__setattr__(self, "groups", plain_int(self.groups, 1, 2**31, f"{where}: groups"))
        require(self.weights.shape[3] % self.groups == 0, f"{where}: {self.weights.shape[3]} outputs do not split into "
                f"{self.groups} groups; choose a divisor")
        require(all(e < s for e, s in zip(self.extra, self.stride, strict=True)),
                f"{where}: extra {self.extra} must stay below the stride {self.stride}; lower it")

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        channels = self.weights.shape[2] * self.groups
        require(len(shape) == 3 and shape[2] == channels, f"ConvTranspose2d: the input has shape {shape}, but the weights take "
                f"(height, width, {channels})")
        sizes = [(shape[i] - 1) * self.stride[i] + self.dilation[i] * (self.weights.shape[i] - 1) + 1
                 - self.pads[i] - self.pads[i + 2] + self.extra[i] for i in (0, 1)]
        require(min(sizes) > 0, f"ConvTranspose2d: pads {self.pads} leave nothing of an output of shape {shape}; use smaller pads")
        require(all(size * k <= MAX_TABLE for size, k in zip(sizes, self.weights.shape, strict=False)),
                f"ConvTranspose2d: an output of {sizes} is beyond the limit along one axis; split the layer")
        return (*sizes, self.weights.shape[3])

    def index(self, shape: Shape) -> tuple[Int64, Int64]:
        """Index tables of the rows and of the columns (see `windows`) for an input shape."""
        out = self.shape(shape)
        rows, cols = (transposed_index(shape[i], self.weights.shape[i], self.stride[i], self.dilation[i], self.pads[i], out[i])
                      for i in (0, 1))
        return rows, cols

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        inside = tap_range(inputs[0], self.weights, self.groups, "ConvTranspose2d")
        kh, kw, _, outputs = self.weights.shape
        return window_range(inside, np.zeros((kh, kw, outputs), np.int64), *self.index(shapes[0]), "ConvTranspose2d")

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        (x,) = inputs
        carrier = self.carrier(ranges[0].magnitude)
        x, weights = x.astype(carrier, copy=False), self.carried(carrier)
        n, height, width, _ = x.shape
        kh, kw, per_group, outputs = weights.shape
        (sh, sw), (dh, dw), (top, left, *_) = self.stride, self.dilation, self.pads
        rows, cols, _ = self.shape(x.shape[1:])
        # Room for everything that any input reaches, and for `extra` beyond it; then cut out the wanted part.
        full = np.zeros((n, max((height - 1) * sh + dh * (kh - 1) + 1, top + rows),
                         max((width - 1) * sw + dw * (kw - 1) + 1, left + cols), outputs), carrier)
        split = outputs // self.groups
        for g in range(self.groups):
            part = slice(g * split, (g + 1) * split)
            rows_in = x[..., g * per_group:(g + 1) * per_group].reshape(-1, per_group)
            matrix = weights[..., part].transpose(2, 0, 1, 3).reshape(per_group, -1)
            spread = (rows_in @ matrix).reshape(n, height, width, kh, kw, split)
            for a, b in np.ndindex(kh, kw):
                rows_out = slice(a * dh, a * dh + (height - 1) * sh + 1, sh)
                cols_out = slice(b * dw, b * dw + (width - 1) * sw + 1, sw)
                full[:, rows_out, cols_out, part] += spread[:, :, :, a, b]
        return full[:, top:top + rows, left:left + cols]

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        (x,) = inputs
        columns = onnx_windows(build, x, *self.index(build.shape(x)), 0)
        y = build.grouped_matmul(columns, self.weights, self.groups, build.range(x).hull(0), self.reach)
        return build.reshape(y, self.shape(build.shape(x)))
