"""Requantization: an integer multiplier, a shift, and a rounding that has a name.

There is no single rounding: frameworks and chips differ in their ties.  ``ROUNDINGS`` holds each as the term that is
added to ``p = x * multiplier`` before the arithmetic shift right by s, with ``d = 2**s`` and ``floor`` the shift:

==============  =============================================  ============================================================
name            ``round(p / d)``                               whose arithmetic
==============  =============================================  ============================================================
floor           ``p >> s``                                     PULP neureka
ceil            ``(p + d - 1) >> s``
toward_zero     ``(p + (p < 0) * (d - 1)) >> s``               C's integer division
half_up         ``(p + d/2) >> s``                             TFLite's single-rounding build, FINN's floor(x + 1/2)
half_away       ``(p + d/2 - (p < 0)) >> s``                   TFLite fully connected, NVDLA
half_even       ``(p + d/2 - 1 + ((p >> s) & 1)) >> s``        QONNX ROUND, IEEE, onnxruntime where float32 is exact
gemmlowp        half_up by 31, then half_away by ``s - 31``    gemmlowp, TFLite reference convolution, CMSIS-NN
==============  =============================================  ============================================================

gemmlowp's first step is the saturating rounding doubling high multiply, whose ties go up for both signs (its nudge is
``1 - 2**30`` for negative products and the division truncates); the second is its rounding divide by a power of two.
Any other pair of roundings is two `Requant` nodes in a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..ranges import Int64, Range
from ..types import IntType
from .base import Array, Op, Shape, integer_array, least_int, per_channel, require

if TYPE_CHECKING:
    from ..onnx_export import OnnxBuilder

#: Name -> (p, s) -> what is added to p before it is shifted right by s; all int64, s broadcast along channels.
ROUNDINGS: dict[str, Callable[[Int64, Int64], Int64]] = {
    "floor": lambda p, s: np.zeros_like(s),
    "ceil": lambda p, s: (1 << s) - 1,
    "toward_zero": lambda p, s: (p < 0) * ((1 << s) - 1),
    "half_up": lambda p, s: (1 << s) >> 1,
    "half_away": lambda p, s: ((1 << s) >> 1) - ((p < 0) & (s > 0)),
    "half_even": lambda p, s: (((1 << s) >> 1) - 1 + ((p >> s) & 1)) * (s > 0),
}
NAMES = (*ROUNDINGS, "gemmlowp")


def shifted(p: Int64, shift: Int64, rounding: str) -> Int64:
    """``round(p / 2**shift)`` under a named rounding; int64 in and out."""
    if rounding == "gemmlowp":
        first = np.full_like(shift, 31)
        return shifted(shifted(p, first, "half_up"), shift - 31, "half_away")
    result: Int64 = (p + ROUNDINGS[rounding](p, shift)) >> shift
    return result


@dataclass(frozen=True, eq=False)
class Requant(Op):
    """``y[..., c] = clip(round(x[..., c] * multiplier[c] / 2**shift[c]) + zero_point[c], out.lo, out.hi)``.

    Range: exact bounds, since the function is monotone in x for every channel.

    Parameters
    ----------
    multiplier, shift, zero_point : int64 (C,), or (1,) for all channels alike
        Shifts are 0 to 62 bits to the right.
    rounding : str
        One of ``floor, ceil, toward_zero, half_up, half_away, half_even, gemmlowp``; the last needs shifts of 31 or more.
    out : IntType
        What the result saturates to; its step is 1.
    """

    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]
    zero_point: NDArray[np.int64]
    rounding: str
    out: IntType

    def __post_init__(self) -> None:
        for name in ("multiplier", "shift", "zero_point"):
            object.__setattr__(self, name, integer_array(getattr(self, name), 1, f"Requant: {name}"))
        require(self.rounding in NAMES, f"Requant: the rounding '{str(self.rounding)[:40]}' is unknown; "
                f"choose one of {', '.join(NAMES)}")
        least = 31 if self.rounding == "gemmlowp" else 0
        require(least <= int(self.shift.min()) and int(self.shift.max()) <= 62, f"Requant: shift goes from {self.shift.min()} to "
                f"{self.shift.max()}; {self.rounding} takes {least} to 62, so scale the multiplier")
        require(self.out.step == 1, f"Requant: the output type {self.out} has a step of {self.out.step}; requantize to whole steps "
                "and scale after, or use Threshold")

    def shape(self, *shapes: Shape) -> Shape:
        for name in ("multiplier", "shift", "zero_point"):
            per_channel(len(getattr(self, name)), shapes[0], f"Requant: {name}")
        return shapes[0]

    def range(self, *inputs: Range, shapes: Sequence[Shape]) -> Range:
        (x,) = inputs
        reach = x.magnitude * int(np.abs(self.multiplier).max())
        require(reach + (1 << int(self.shift.max())) < 2**63 and reach + int(np.abs(self.zero_point).max()) < 2**63,
                f"Requant: {x.magnitude} * {np.abs(self.multiplier).max()} with a shift of {self.shift.max()} is beyond 63 bits; "
                "use a smaller multiplier and shift")
        ends = np.stack([self._apply(x.lo), self._apply(x.hi)])
        return Range(ends.min(axis=0), ends.max(axis=0))

    def _apply(self, x: Int64) -> Int64:
        y = shifted(x * self.multiplier, self.shift, self.rounding)
        result: Int64 = np.clip(y + self.zero_point, self.out.lo, self.out.hi)
        return result

    def evaluate(self, *inputs: Array, ranges: Sequence[Range]) -> Array:
        return self._apply(inputs[0].astype(np.int64)).astype(least_int(self.out.lo, self.out.hi))

    def onnx(self, build: OnnxBuilder, *inputs: str) -> str:
        p = build.cast(inputs[0], np.int64)
        if (self.multiplier != 1).any():
            p = build.node("Mul", p, build.const(self.multiplier, np.int64))
        if self.rounding == "gemmlowp":
            first = np.full_like(self.shift, 31)
            y = _onnx_shifted(build, _onnx_shifted(build, p, first, "half_up"), self.shift - 31, "half_away")
        else:
            y = _onnx_shifted(build, p, self.shift, self.rounding)
        if self.zero_point.any():
            y = build.node("Add", y, build.const(self.zero_point, np.int64))
        return build.clip(y, self.out.lo, self.out.hi)


def _onnx_shifted(build: OnnxBuilder, p: str, shift: Int64, rounding: str) -> str:
    """`shifted` in ONNX: there is no arithmetic shift, so floor(p / d) is ``(p - mod(p, d)) / d``."""
    if not shift.any():
        return p
    d = np.int64(1) << shift
    half, some = d >> 1, (shift > 0).astype(np.int64)

    def const(value: Int64) -> str:
        return build.const(value, np.int64)

    def floor(value: str) -> str:
        return build.node("Div", build.node("Sub", value, build.node("Mod", value, const(d))), const(d))

    def where_negative(value: Int64) -> str:
        below = build.cast(build.node("Less", p, const(np.array(0)), dtype=np.bool_), np.int64)
        return build.node("Mul", below, const(value))

    if rounding == "floor":
        return floor(p)
    if rounding == "ceil":
        return floor(build.node("Add", p, const(d - 1)))
    if rounding == "toward_zero":
        return build.node("Div", p, const(d))
    if rounding == "half_up":
        return floor(build.node("Add", p, const(half)))
    if rounding == "half_away":
        return floor(build.node("Sub", build.node("Add", p, const(half)), where_negative(some)))
    odd = build.node("Mul", build.node("Mod", floor(p), const(np.array(2))), const(some))
    return floor(build.node("Add", build.node("Add", p, const((half - 1) * some)), odd))
