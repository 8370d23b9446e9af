"""TFLite's arithmetic: integers throughout, with a multiplier of 31 bits and a shift for each real factor.

`TfLite` is what its reference kernels compute (gemmlowp's double rounding; fully connected layers round once, half away
from zero), `TfLiteSingle` what a build with TFLITE_SINGLE_ROUNDING does: ``(n * multiplier + 2**(t - 1)) >> t``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np

from .errors import LoweringError
from .exact import Ints
from .semantics import F32, INT32, Affine, Output, Rule, Semantics, certain

#: How far the float32 sigmoid of a table may lie from the true one.
SIGMOID_ERROR = 2.0**-20
#: A sum's inputs are scaled by 2**20 first.
LEFT_SHIFT = 20

Scaling = Callable[[Ints, int, int], Ints]


def multiplier_of(real: float) -> tuple[int, int]:
    """(q, shift) with real = q / 2**31 * 2**shift, as near as a q of 31 bits comes."""
    mantissa, shift = math.frexp(real)
    q = math.floor(mantissa * 2**31 + 0.5)
    if q == 2**31:
        q, shift = q // 2, shift + 1
    if shift > 30:
        raise LoweringError(f"it multiplies by {real:g}, beyond the 2**30 of TFLite's multipliers; calibrate its scales again")
    return (0, 0) if shift < -31 else (q, shift)


def twice_rounded(n: Ints, q: int, shift: int) -> Ints:
    """The high half of 2 * n * q rounded, then a rounding shift: both to nearest, the second half away from zero."""
    n = np.clip(n, INT32[0] >> max(shift, 0), INT32[1] >> max(shift, 0)) << max(shift, 0)
    product = n * q
    nudged = product + np.where(product >= 0, 2**30, 1 - 2**30)
    high = np.where(nudged >= 0, nudged >> 31, -(-nudged >> 31))
    right = max(-shift, 0)
    rest, mask = high & ((1 << right) - 1), (1 << right) - 1
    made: Ints = (high >> right) + (rest > (mask >> 1) + (high < 0))
    return made


def once_away(n: Ints, q: int, shift: int) -> Ints:
    """One rounding, half away from zero."""
    t = 31 - shift
    size = (np.abs(n) * q + (1 << (t - 1))) >> t
    made: Ints = np.where(n < 0, -size, size)
    return made


def once_up(n: Ints, q: int, shift: int) -> Ints:
    """One rounding, half up."""
    t = 31 - shift
    made: Ints = (n * q + (1 << (t - 1))) >> t
    return made


class TfLite(Semantics):
    """TFLite's reference kernels."""

    name = "tflite"
    pads_averages = False
    scaling: Scaling = staticmethod(twice_rounded)
    dense: Scaling = staticmethod(once_away)

    def clamped(self, out: Output, low: float | None, high: float | None) -> Output:
        ends = [None if end is None else out.zero + int(away(np.array(np.float32(end) / out.scale))) for end in (low, high)]
        first = out.low if ends[0] is None else min(max(out.low, ends[0]), out.high)
        last = out.high if ends[1] is None else max(min(out.high, ends[1]), out.low)
        if first >= last:
            raise LoweringError(f"its clip leaves the single level {first}; calibrate the quantizer behind it again")
        return replace(out, low=first, high=last)

    def product(self, kind: str, x: np.float32, weights: F32, out: Output, alpha: np.float32) -> Rule:
        scaling = self.dense if kind == "dense" else self.scaling
        return _rule(scaling, [float(alpha) * float(x) * float(one) / float(out.scale) for one in weights])

    def unquantized(self, x: np.float32, weights: F32, alpha: np.float32) -> list[Fraction]:
        raise LoweringError("its output is not quantized; TFLite's kernels give int8, so quantize it")

    def quantize(self, x: F32, out: Output) -> Ints:
        with np.errstate(over="ignore"):
            return np.clip(away(x / out.scale), -(2.0**40), 2.0**40).astype(np.int64) + out.zero

    def rescale(self, x: np.float32, out: Output) -> Rule:
        return _rule(self.scaling, [float(x) / float(out.scale)])

    def leaky(self, n: Ints, x: np.float32, alpha: np.float32, out: Output) -> Ints:
        sides = [float(x) / float(out.scale), float(x) * float(alpha) / float(out.scale)]
        above, below = (self.scaling(n, *multiplier_of(side)) if side else n * 0 for side in sides)
        return np.where(n >= 0, above, below) + out.zero

    def sigmoid(self, n: Ints, x: np.float32, out: Output) -> Ints:
        if out.scale != np.float32(1 / 256) or out.zero != out.low:
            raise LoweringError(f"its output has scale {out.scale} and zero point {out.zero}; TFLite's sigmoid has 1/256 and the "
                                "least integer")
        true = 256 / (1 + np.exp(-n.astype(np.float64) * float(x)))
        room = np.where(n == 0, 0.0, 256 * SIGMOID_ERROR)
        low, high = (np.floor(np.clip(true + side * room, 0, 255) + 0.5).astype(np.int64) + out.zero for side in (-1, 1))
        return certain(n, low, high, "float32 rounding; change its input scale slightly")

    def mean(self, kind: str, x: np.float32, count: int, out: Output, sums: tuple[int, int], zero: int) -> Rule:
        """A pool divides the raw sum, half away from zero; a mean has 1 / count in its multiplier."""
        if kind == "pool":
            if x != out.scale or zero != out.zero:
                raise LoweringError(f"its output has scale {out.scale} and zero point {out.zero}, its input {x} and {zero}; "
                                    "TFLite's average pool wants the same for both")

            def average(n: Ints) -> Ints:
                raw = n + count * zero
                size = (np.abs(raw) + count // 2) // count
                return np.where(raw < 0, -size, size) - zero

            return Rule([Fraction(1, count)], average)
        q, shift = multiplier_of(float(x) / float(out.scale))
        folded = min(count.bit_length() - 1, 32, 31 + shift)
        return Rule([Fraction(float(x)) / (count * Fraction(float(out.scale)))],
                    lambda n: self.scaling(n, (q << folded) // count, shift - folded))

    def multiplied(self, a: np.float32, b: np.float32, out: Output) -> Rule:
        return _rule(self.scaling, [float(a) * float(b) / float(out.scale)])

    def added(self, a: Ints, b: Ints, of_a: Affine, of_b: Affine, out: Output) -> tuple[Ints, list[list[Fraction]]]:
        largest = 2 * max(float(of_a[0]), float(of_b[0]))
        q, shift = multiplier_of(largest / (2**LEFT_SHIFT * float(out.scale)))
        sides = [self.scaling(n << LEFT_SHIFT, *multiplier_of(float(scale) / largest)) for n, (scale, _) in ((a, of_a), (b, of_b))]
        levels = self.scaling(sides[0][:, None] + sides[1], q, shift) + out.zero
        unit = Fraction(q) * Fraction(2) ** (shift - 31)
        return levels, [[int(n) * unit + (out.zero if i else 0) for n in side] for i, side in enumerate(sides)]


class TfLiteSingle(TfLite):
    """TFLite built with TFLITE_SINGLE_ROUNDING."""

    name = "tflite-single"
    scaling: Scaling = staticmethod(once_up)
    dense: Scaling = staticmethod(once_up)


def away(x: F32) -> F32:
    """Half away from zero."""
    wide = x.astype(np.float64)
    made: F32 = np.sign(wide) * np.floor(np.abs(wide) + 0.5)
    return made


def _rule(scaling: Scaling, reals: list[float]) -> Rule:
    parts = [multiplier_of(real) for real in reals]
    # The integers' own slope: what a Requant must meet.
    slopes = [Fraction(q) * Fraction(2) ** (shift - 31) or Fraction(real) for real, (q, shift) in zip(reals, parts, strict=True)]

    def apply(n: Ints) -> Ints:
        return np.stack([scaling(row, q, shift) for row, (q, shift) in zip(n, parts, strict=True)])

    return Rule(slopes, apply)
