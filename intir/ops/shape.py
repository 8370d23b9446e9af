"""Operations that only move, repeat or add constant values.

Ranges are kept per channel.  Where an operation brings several channels of its input into one of its output, the
range is their hull: exact bounds, a step that is sound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..ranges import Range
from ..types import MAX_BITS
from .base import Array, Op, Shape, int_tuple, integer_array, least_int, plain_int, require

if TYPE_CHECKING:
    from ..onnx_export import OnnxBuilder


#: Length of the pattern in which a `Reshape` deals channels out up to which it is followed; beyond, all are taken together.
MAX_PERIOD = 2**23


def _gathered(x: Range, source: NDArray[np.int64], target: NDArray[np.int64], channels: int) -> Range:
    """The range where output channel ``target[i]`` receives values of input channel ``source[i]``."""
    lo = np.full(channels, np.iinfo(np.int64).max)
    hi = np.full(channels, np.iinfo(np.int64).min)
    np.minimum.at(lo, target, x.lo[source])
    np.maximum.at(hi, target, x.hi[source])
    return Range(lo, hi, math.gcd(x.pace, int(np.gcd.reduce(x.lo[source] - lo[target]))) or 1)


def _mixed(x: Range, channels: int) -> Range:
    """The range where every output channel may receive values of every input channel."""
    return Range.of(x.type, channels)


@dataclass(frozen=True, eq=False)
class Reshape(Op):
    """The same values in row-major order under another shape.

    Parameters
    ----------
    to : tuple of int
        The output's shape, without batch axis.
    """

    to: Shape

    def __post_init__(self) -> None:
        object.__setattr__(self, "to", int_tuple(self.to, None, 1, "Reshape: to"))

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        require(len(self.to) >= 1 and math.prod(self.to) == math.prod(shape),
                f"Reshape: an input of shape {shape} cannot become {self.to}; the number of values differs")
        return self.to

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        (x,) = inputs
        before, after = len(x.lo), self.to[-1]
        if before == after:
            return x
        period = min(math.lcm(before, after), math.prod(self.to))
        if period > MAX_PERIOD:
            return _mixed(x, after)
        # Value i of the flattened tensor has input channel i % before and output channel i % after.
        index = np.arange(period)
        return _gathered(x, index % before, index % after, after)

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        (x,) = inputs
        return x.reshape(len(x), *self.to)

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        return build.reshape(inputs[0], self.to)


@dataclass(frozen=True, eq=False)
class Transpose(Op):
    """``y[i_perm[0], i_perm[1], ...] = x[i_0, i_1, ...]``: axis k of the output is axis ``perm[k]`` of the input.

    Lowerings permute weights instead where they can; hardware pays for a transpose with a whole-frame buffer.

    Parameters
    ----------
    perm : tuple of int
    """

    perm: Shape

    def __post_init__(self) -> None:
        object.__setattr__(self, "perm", int_tuple(self.perm, None, 0, "Transpose: perm"))

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        require(len(shape) >= 1 and sorted(self.perm) == list(range(len(shape))),
                f"Transpose: {self.perm} is no permutation of the axes of shape {shape}; name each axis once")
        return tuple(shape[axis] for axis in self.perm)

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        (x,) = inputs
        if self.perm[-1] == len(self.perm) - 1:
            return x
        return _mixed(x, shapes[0][self.perm[-1]])

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        return inputs[0].transpose(0, *(axis + 1 for axis in self.perm))

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        return build.transpose(inputs[0], self.perm)


@dataclass(frozen=True, eq=False)
class Concat(Op):
    """The inputs one after the other along an axis.

    Parameters
    ----------
    axis : int
        0 for the first axis after the batch; -1, the default, for the channels.
    """

    arity: ClassVar[int | None] = None
    axis: int = -1

    def __post_init__(self) -> None:
        object.__setattr__(self, "axis", plain_int(self.axis, -8, 7, "Concat: axis"))

    def _axis(self, rank: int) -> int:
        require(-rank <= self.axis < rank, f"Concat: axis {self.axis} does not exist in inputs of {rank} axes; "
                "choose an existing one")
        return self.axis % rank

    def shape(self, *shapes: Shape) -> Shape:
        axis = self._axis(len(shapes[0]))
        rest = {(*shape[:axis], *shape[axis + 1:]) for shape in shapes}
        require(len(rest) == 1 and len({len(shape) for shape in shapes}) == 1,
                f"Concat: shapes {', '.join(map(str, shapes))} differ beside axis {self.axis}; make the other sizes equal")
        return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1:])

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        pace = math.gcd(*(x.pace for x in inputs))
        if self._axis(len(shapes[0])) == len(shapes[0]) - 1:
            return Range(np.concatenate([x.lo for x in inputs]), np.concatenate([x.hi for x in inputs]), pace or 1)
        lo, hi = np.stack([x.lo for x in inputs]), np.stack([x.hi for x in inputs])
        return Range(lo.min(axis=0), hi.max(axis=0), math.gcd(pace, int(np.gcd.reduce(lo - lo[0], axis=None))) or 1)

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        dtype = least_int(min(int(r.lo.min()) for r in ranges), max(int(r.hi.max()) for r in ranges))
        return np.concatenate([x.astype(dtype, copy=False) for x in inputs], axis=self._axis(inputs[0].ndim - 1) + 1)

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        dtype = build.wide(max(build.range(x).magnitude for x in inputs))
        parts = [build.cast(x, dtype) for x in inputs]
        return build.node("Concat", *parts, axis=self._axis(len(build.shape(inputs[0]))) + 1)


@dataclass(frozen=True, eq=False)
class Slice(Op):
    """``y = x[start[0]:stop[0]:step[0], start[1]:stop[1]:step[1], ...]``, one triple per axis.

    Parameters
    ----------
    start, stop, step : tuple of int
        ``0 <= start < stop <= size``, ``step >= 1``.
    """

    start: Shape
    stop: Shape
    step: Shape

    def __post_init__(self) -> None:
        for name, least in (("start", 0), ("stop", 1), ("step", 1)):
            object.__setattr__(self, name, int_tuple(getattr(self, name), None, least, f"Slice: {name}"))

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        require(len(self.start) == len(self.stop) == len(self.step) == len(shape) >= 1
                and all(a < b <= size for a, b, size in zip(self.start, self.stop, shape, strict=True)),
                f"Slice: start {self.start}, stop {self.stop}, step {self.step} do not fit an input of shape {shape}; "
                "give one of each per axis with start < stop <= size")
        return tuple(-((a - b) // s) for a, b, s in zip(self.start, self.stop, self.step, strict=True))

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        (x,) = inputs
        part = slice(self.start[-1], self.stop[-1], self.step[-1])
        return Range(x.lo[part], x.hi[part], x.step)

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        return inputs[0][(slice(None), *map(slice, self.start, self.stop, self.step))]

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        axes = np.arange(1, len(self.start) + 1)
        return build.node("Slice", inputs[0], *(build.const(np.array(part), np.int64)
                                                for part in (self.start, self.stop, axes, self.step)))


@dataclass(frozen=True, eq=False)
class Pad(Op):
    """x surrounded by a constant.

    Parameters
    ----------
    before, after : tuple of int
        How many are added along each axis.
    value : int
    """

    before: Shape
    after: Shape
    value: int = 0

    def __post_init__(self) -> None:
        for name in ("before", "after"):
            object.__setattr__(self, name, int_tuple(getattr(self, name), None, 0, f"Pad: {name}"))
        object.__setattr__(self, "value", plain_int(self.value, -2**MAX_BITS + 1, 2**MAX_BITS - 1, "Pad: value"))

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        require(len(self.before) == len(self.after) == len(shape) >= 1, f"Pad: before {self.before} and after {self.after} "
                f"do not fit an input of shape {shape}; give one number per axis")
        return tuple(b + size + a for b, size, a in zip(self.before, shape, self.after, strict=True))

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        (x,) = inputs
        if any(self.before[:-1]) or any(self.after[:-1]):
            x = x.hull(self.value)
        ends = (self.before[-1], self.after[-1])
        return Range(np.pad(x.lo, ends, constant_values=self.value), np.pad(x.hi, ends, constant_values=self.value), x.step)

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        (x,) = inputs
        y = ranges[0].hull(self.value)
        x = x.astype(least_int(int(y.lo.min()), int(y.hi.max())), copy=False)
        return np.pad(x, ((0, 0), *zip(self.before, self.after, strict=True)), constant_values=self.value)

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        return build.pad(inputs[0], self.before, self.after, self.value)


@dataclass(frozen=True, eq=False)
class ChannelPermute(Op):
    """``y[..., c] = x[..., order[c]]``: channel shuffle and its like.

    Parameters
    ----------
    order : int64 (C,)
        A permutation of 0 .. C - 1.
    """

    order: NDArray[np.int64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", integer_array(self.order, 1, "ChannelPermute: order"))
        require(bool((np.sort(self.order) == np.arange(len(self.order))).all()),
                f"ChannelPermute: order is no permutation of 0 to {len(self.order) - 1}; name each channel once")

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        require(len(shape) >= 1 and shape[-1] == len(self.order), f"ChannelPermute: order has {len(self.order)} channels, but "
                f"the input has shape {shape}; name every channel")
        return shape

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        (x,) = inputs
        return Range(x.lo[self.order], x.hi[self.order], x.step)

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        return inputs[0].take(self.order, axis=-1)

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        return build.node("Gather", inputs[0], build.const(self.order, np.int64), axis=len(build.shape(inputs[0])))


@dataclass(frozen=True, eq=False)
class Upsample(Op):
    """``y[i, j, c] = x[i // factor[0], j // factor[1], c]``: nearest neighbour.

    Parameters
    ----------
    factor : (int, int)
        Along height, width.
    """

    factor: Shape

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", int_tuple(self.factor, 2, 1, "Upsample: factor"))

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        require(len(shape) == 3, f"Upsample: the input has shape {shape}; it needs height, width and channels")
        return (shape[0] * self.factor[0], shape[1] * self.factor[1], shape[2])

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        return inputs[0]

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        return inputs[0].repeat(self.factor[0], axis=1).repeat(self.factor[1], axis=2)

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        (x,) = inputs
        height, width, _ = build.shape(x)
        for axis, (size, factor) in enumerate(((height, self.factor[0]), (width, self.factor[1])), 1):
            x = build.node("Gather", x, build.const(np.repeat(np.arange(size), factor), np.int64), axis=axis)
        return x
