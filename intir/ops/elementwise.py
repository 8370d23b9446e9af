"""Element-wise integer arithmetic.

Joins (`Add`, `Sub`, `Mul`) take two tensors of the same rank; an axis of size 1 is repeated to the other's size.
Their range rules are exact for inputs that vary independently.  Where both branches descend from one value they are
sound: the true range may be smaller.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..ranges import Range, checked
from ..types import MAX_BITS
from .base import Array, Op, Shape, integer_array, least_int, per_channel, plain_int, require

if TYPE_CHECKING:
    from ..onnx_export import OnnxBuilder

LIMIT = 2**MAX_BITS - 1


def _joined(kind: str, shapes: Sequence[Shape]) -> Shape:
    a, b = shapes
    require(len(a) == len(b) >= 1 and all(m == n or 1 in (m, n) for m, n in zip(a, b, strict=True)),
            f"{kind}: shapes {a} and {b} do not match; they need the same rank, and equal sizes or 1 along each axis")
    return tuple(max(m, n) for m, n in zip(a, b, strict=True))


def _integers(x: Array, *bounds: Range) -> Array:
    """x in the narrowest integer dtype that holds all the given ranges."""
    dtype = least_int(min(int(r.lo.min()) for r in bounds), max(int(r.hi.max()) for r in bounds))
    return x.astype(dtype, copy=False)


@dataclass(frozen=True, eq=False)
class Add(Op):
    """``y = a + b``, with axes of size 1 repeated.  Range: exact for independent inputs, else sound."""

    arity: ClassVar[int | None] = 2

    def shape(self, *shapes: Shape) -> Shape:
        return _joined(self.kind, shapes)

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        a, b = inputs
        lo, hi = a.lo + b.lo, a.hi + b.hi  # 62-bit values: no overflow in int64
        return Range(checked(lo, self.kind), checked(hi, self.kind), math.gcd(a.pace, b.pace) or 1)

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        total = self.range(*ranges, shapes=())
        a, b = (_integers(x, total, *ranges) for x in inputs)
        result: Array = a + b
        return result

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        return build.arithmetic("Add", *inputs, result=self.range(*map(build.range, inputs), shapes=()))


@dataclass(frozen=True, eq=False)
class Sub(Op):
    """``y = a - b``, with axes of size 1 repeated.  Range: exact for independent inputs, else sound."""

    arity: ClassVar[int | None] = 2

    def shape(self, *shapes: Shape) -> Shape:
        return _joined(self.kind, shapes)

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        a, b = inputs
        return Range(checked(a.lo - b.hi, self.kind), checked(a.hi - b.lo, self.kind), math.gcd(a.pace, b.pace) or 1)

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        difference = self.range(*ranges, shapes=())
        a, b = (_integers(x, difference, *ranges) for x in inputs)
        result: Array = a - b
        return result

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        return build.arithmetic("Sub", *inputs, result=self.range(*map(build.range, inputs), shapes=()))


@dataclass(frozen=True, eq=False)
class Mul(Op):
    """``y = a * b``, with axes of size 1 repeated: XNOR-Net's scale map, squeeze-and-excitation.

    Range: exact bounds for independent inputs, else sound.
    """

    arity: ClassVar[int | None] = 2

    def shape(self, *shapes: Shape) -> Shape:
        return _joined(self.kind, shapes)

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        a, b = inputs
        require(a.magnitude * b.magnitude <= LIMIT, f"Mul: a product can reach {a.magnitude} * {b.magnitude}, beyond "
                f"{MAX_BITS} bits; requantize before it")
        corners = np.stack(np.broadcast_arrays(a.lo * b.lo, a.lo * b.hi, a.hi * b.lo, a.hi * b.hi))
        # (la + i sa)(lb + j sb) = la lb + j la sb + i lb sa + i j sa sb
        step = math.gcd(a.pace * int(np.gcd.reduce(b.lo)), b.pace * int(np.gcd.reduce(a.lo)), a.pace * b.pace)
        return Range(corners.min(axis=0), corners.max(axis=0), step or 1)

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        product = self.range(*ranges, shapes=())
        a, b = (_integers(x, product, *ranges) for x in inputs)
        result: Array = a * b
        return result

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        return build.arithmetic("Mul", *inputs, result=self.range(*map(build.range, inputs), shapes=()))


@dataclass(frozen=True, eq=False)
class ScaleChannels(Op):
    """``y[..., c] = x[..., c] * multiplier[c] + offset[c]``.

    Parameters
    ----------
    multiplier, offset : int64 (C,), or (1,) for all channels alike
    """

    multiplier: NDArray[np.int64]
    offset: NDArray[np.int64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "multiplier", integer_array(self.multiplier, 1, "ScaleChannels: multiplier"))
        object.__setattr__(self, "offset", integer_array(self.offset, 1, "ScaleChannels: offset"))

    def shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        for name in ("multiplier", "offset"):
            per_channel(len(getattr(self, name)), shape, f"ScaleChannels: {name}")
        return shape

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        (x,) = inputs
        reach = x.magnitude * self._largest[0] + self._largest[1]
        require(reach <= LIMIT, f"ScaleChannels: a value can reach {reach}, beyond {MAX_BITS} bits; requantize before it")
        ends = np.stack([x.lo * self.multiplier, x.hi * self.multiplier])
        moving = self.multiplier if len(self.multiplier) == 1 else self.multiplier[x.lo != x.hi]
        step = x.pace * int(np.gcd.reduce(moving)) if moving.size else 1
        return Range(ends.min(axis=0) + self.offset, ends.max(axis=0) + self.offset, step or 1)

    @functools.cached_property
    def _largest(self) -> tuple[int, int]:
        return int(np.abs(self.multiplier).max()), int(np.abs(self.offset).max())

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        (x,) = inputs
        reach = max(ranges[0].magnitude * max(1, self._largest[0]) + self._largest[1], *self._largest)
        dtype = least_int(-reach, reach)
        result: Array = x.astype(dtype, copy=False) * self.multiplier.astype(dtype) + self.offset.astype(dtype)
        return result

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        (x,) = inputs
        reach = max(build.range(x).magnitude * max(1, self._largest[0]) + self._largest[1], *self._largest)
        dtype = build.wide(reach)
        y = build.cast(x, dtype)
        if (self.multiplier != 1).any():
            y = build.node("Mul", y, build.const(self.multiplier, dtype))
        return build.node("Add", y, build.const(self.offset, dtype)) if self.offset.any() else y


@dataclass(frozen=True, eq=False)
class Clip(Op):
    """``y = min(max(x, lo), hi)``.

    Parameters
    ----------
    lo, hi : int
    """

    lo: int
    hi: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "lo", plain_int(self.lo, -LIMIT, LIMIT, "Clip: lo"))
        object.__setattr__(self, "hi", plain_int(self.hi, self.lo, LIMIT, "Clip: hi"))

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        (x,) = inputs
        lo, hi = np.clip(x.lo, self.lo, self.hi), np.clip(x.hi, self.lo, self.hi)
        # A clipped end joins the values in between only through the distance from the progression.
        cut = [np.where((lo < hi) & (end != bound), bound - x.lo, 0) for end, bound in ((x.lo, lo), (x.hi, hi))]
        return Range(lo, hi, math.gcd(x.pace, *(int(np.gcd.reduce(c)) for c in cut)) or 1)

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        (x,) = inputs
        y = self.range(*ranges, shapes=())
        lo, hi = int(y.lo.min()), int(y.hi.max())  # the clip's own bounds may lie beyond x's dtype
        return np.clip(_integers(x, y, *ranges), lo, hi).astype(least_int(lo, hi), copy=False)

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        (x,) = inputs
        y = self.range(build.range(x), shapes=())
        wide = build.cast(x, build.wide(max(build.range(x).magnitude, y.magnitude)))
        return build.clip(wide, int(y.lo.min()), int(y.hi.max()))
