"""onnxruntime's arithmetic: float32 wherever a kernel leaves the integers, rounded half to even.

Measured against its CPU kernels on x86-64 with AVX2 (see docs/semantics.md); on ARM, QLinearAdd and
QLinearGlobalAveragePool compute in integers instead.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from .errors import LoweringError
from .exact import Ints
from .semantics import F32, Affine, Output, Rule, Semantics, certain

#: How far onnxruntime's float32 sigmoid may lie from the true one.
SIGMOID_ERROR = 2.0**-20


def fma(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> F32:
    """float32(a * b + c) with one rounding, for float32 numbers.

    The product is exact in float64.  The sum is rounded to odd there, so that the rounding to float32 is the only one.
    """
    product, addend = np.asarray(a, np.float64) * np.asarray(b, np.float64), np.asarray(c, np.float64)
    total = np.atleast_1d(product + addend)
    part = total - product
    rest = (product - (total - part)) + (addend - part)
    even = total.view(np.int64) % 2 == 0
    odd = np.where((rest != 0) & even, np.nextafter(total, np.where(rest > 0, np.inf, -np.inf)), total)
    return odd.astype(np.float32)


def _rint(x: F32) -> Ints:
    """Half to even; far values stay far."""
    return np.rint(np.clip(x, -(2.0**40), 2.0**40)).astype(np.int64)


class OnnxRuntime(Semantics):
    """Stock onnxruntime, default session options, on x86-64 with AVX2."""

    name = "onnxruntime"
    is_stock = True

    def product(self, kind: str, x: np.float32, weights: F32, out: Output, alpha: np.float32) -> Rule:
        return _scaled(alpha * x * weights / out.scale)

    def unquantized(self, x: np.float32, weights: F32, alpha: np.float32) -> list[Fraction]:
        return [Fraction(float(one)) for one in alpha * x * weights]

    def quantize(self, x: F32, out: Output) -> Ints:
        with np.errstate(over="ignore"):
            return _rint(x / out.scale) + out.zero

    def rescale(self, x: np.float32, out: Output) -> Rule:
        def apply(n: Ints) -> Ints:
            return self.quantize(n.astype(np.float32) * x, out) - out.zero

        return Rule([Fraction(float(x)) / Fraction(float(out.scale))], apply)

    def leaky(self, n: Ints, x: np.float32, alpha: np.float32, out: Output) -> Ints:
        real = n.astype(np.float32) * x
        return self.quantize(np.where(real >= 0, real, alpha * real), out)

    def sigmoid(self, n: Ints, x: np.float32, out: Output) -> Ints:
        """Its polynomial is not reproduced; the true value, with room for the polynomial's error, must decide."""
        real = (n.astype(np.float32) * x).astype(np.float64)
        true = 1 / (1 + np.exp(-real))
        room = np.where(real == 0, 0.0, SIGMOID_ERROR)
        low, high = (np.clip(self.quantize(value.astype(np.float32), out), out.low, out.high)
                     for value in (true - room, true + room))
        return certain(n, low, high, "onnxruntime's float32 polynomial; change its output scale slightly")

    def mean(self, kind: str, x: np.float32, count: int, out: Output, sums: tuple[int, int], zero: int) -> Rule:
        if kind == "global":
            return _scaled(np.atleast_1d(x / (out.scale * np.float32(count))))
        slope = Fraction(float(x)) / (count * Fraction(float(out.scale)))
        n = np.arange(sums[0], sums[1] + 1)
        level = n * float(slope)
        # Every one of the additions, and what follows, errs by half a unit in the last place of what was added up so far.
        size = np.abs(level) if 0 in sums else np.full(level.shape, max(abs(level[0]), abs(level[-1])))
        error = (count + 8) * 2.0**-24 * size + 2.0**-22 * (abs(out.zero) + 1)
        inside = (level + out.zero > out.low - 1) & (level + out.zero < out.high + 1)
        near = np.flatnonzero((np.abs(level - np.floor(level) - 0.5) <= error) & inside)
        if near.size:
            raise LoweringError(f"onnxruntime averages {count} values in float32, and whether their sum of {int(n[near[0]])} is "
                                f"rounded up or down (level {level[near[0]]:.6f}) depends on their order; use GlobalAveragePool "
                                "over all positions, which it computes in integers, or exact semantics")
        return Rule([slope], lambda n: np.rint(n * float(slope)).astype(np.int64))

    def multiplied(self, a: np.float32, b: np.float32, out: Output) -> Rule:
        factor = np.float32(a * b / out.scale)

        def apply(n: Ints) -> Ints:
            return _rint(n.astype(np.float32) * factor + np.float32(out.zero)) - out.zero

        return Rule([Fraction(float(factor))], apply)

    def added(self, a: Ints, b: Ints, of_a: Affine, of_b: Affine, out: Output) -> tuple[Ints, list[list[Fraction]]]:
        """fma(a, ra, fma(b, rb, fixed)): the zero points are in the fixed part, so their values matter."""
        (scale_a, zero_a), (scale_b, zero_b) = of_a, of_b
        ra, rb = scale_a / out.scale, scale_b / out.scale
        fixed = np.float32(out.zero) - fma(ra, np.float32(zero_a), rb * np.float32(zero_b))
        inner = fma(b + zero_b, rb, fixed)
        levels = _rint(fma((a + zero_a)[:, None], ra, inner[None]))
        ratio = Fraction(float(ra))
        return levels, [[int(one) * ratio for one in a + zero_a], [Fraction(float(one)) for one in inner]]


class OnnxRuntimeInt8(OnnxRuntime):
    """The same with the session option session.qdqisint8allowed = 1, under which int8 tensors have kernels of their own."""

    name = "onnxruntime-int8"
    keeps_int8 = True


def _scaled(multipliers: F32) -> Rule:
    """``round(float32(n) * multiplier)``."""
    column = np.atleast_1d(multipliers).astype(np.float32)[:, None]

    def apply(n: Ints) -> Ints:
        return _rint(n.astype(np.float32) * column)

    return Rule([Fraction(float(one)) for one in column[:, 0]], apply)
