"""Whose arithmetic the integers reproduce: the graph's own, exactly, or that of a runtime's quantized kernels.

A runtime brings an accumulator back to 8 bits by a rule of its own.  Each rule here is a function of an integer, evaluated
as the runtime does (float32 or integers), and rises with it; `steps_of` finds by bisection from which integer each level
holds.  So the lowering behind it is the same for all: thresholds, or a Requant that equals them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from .chain import ALL, NONE, Half
from .errors import LoweringError
from .exact import ONE, ZERO, Ints, filled, objects
from .steps import Steps

F32 = NDArray[np.float32]
Affine = tuple[np.float32, int]
INT32 = (-(2**31), 2**31 - 1)


@dataclass(frozen=True)
class Output:
    """What a quantized tensor's integers mean, and their clamp: real = (q - zero) * scale.

    Parameters
    ----------
    scale : float32
    zero, low, high : int
        Zero point, least and greatest level.
    signed : bool
        int8 or uint8.
    """

    scale: np.float32
    zero: int
    low: int
    high: int
    signed: bool


@dataclass(frozen=True, eq=False)
class Rule:
    """``level = apply(n)`` for integers n, per channel, before zero point and clamp.

    Parameters
    ----------
    slopes : list of Fraction
        Levels per integer, one for each channel, or one for all.
    apply : callable, int64 (C, N) -> int64 (C, N)
        Never falls along the second axis.
    """

    slopes: list[Fraction]
    apply: Callable[[Ints], Ints]


def steps_of(rule: Rule, out: Output, shape: tuple[int, ...]) -> Steps:
    """The rule as a step function of an integer in int32.

    Parameters
    ----------
    shape : tuple of int
        In which one number per channel broadcasts against the tensor, for example (1, C, 1, 1).
    """
    rank = len(shape)
    slopes = objects(rule.slopes, shape if len(rule.slopes) > 1 else (1,) * rank)
    one, zero = filled(ONE, rank), filled(ZERO, rank)
    levels = np.arange(out.low + 1, out.high + 1)
    first = least(rule.apply, np.broadcast_to(levels - out.zero, (len(rule.slopes), len(levels))))
    bounds = [[ALL if n <= INT32[0] else NONE if n > INT32[1] else Half("ge", slope * int(n)) for n in row]
              for slope, row in zip(rule.slopes, first, strict=True)]
    group = objects(list(range(len(bounds))), slopes.shape)
    return Steps(slopes, zero, out.low, bounds, group, one, zero)


def least(apply: Callable[[Ints], Ints], levels: Ints) -> Ints:
    """The least int32 n with apply(n) >= level, for each; 2**31 where there is none."""
    return _bisected(lambda n: apply(np.minimum(n, INT32[1])) >= levels, levels.shape, INT32[0], INT32[1] + 1)


def _bisected(holds: Callable[[Ints], NDArray[np.bool_]], shape: tuple[int, ...], low: int, high: int) -> Ints:
    """For each element the least integer from `low` on for which it holds, as for all above; `high` where there is none."""
    lows, highs = np.full(shape, low), np.full(shape, high)
    while bool((lows < highs).any()):
        middle = (lows + highs) >> 1
        here = holds(middle)
        lows, highs = np.where(here | (lows == highs), lows, middle + 1), np.where(here, middle, highs)
    return lows


def certain(n: Ints, low: Ints, high: Ints, room: str) -> Ints:
    """The levels of a sigmoid that is known within bounds.

    Raises
    ------
    LoweringError
        If the bounds of an integer have different levels; `room` says what decides there, and what to do.
    """
    if bool((low != high).any()):
        at = int(np.flatnonzero(low != high)[0])
        raise LoweringError(f"whether its sigmoid of integer {int(n[at])} gives level {int(low[at])} or {int(high[at])} depends on "
                            f"{room}, or use exact semantics")
    return low


class Semantics:
    """The graph's own arithmetic: rationals, rounded half to even where it quantizes.  Base of the runtimes'.

    Under it QLinear operators are computed as dequantize - operator - quantize, so the methods below are the runtimes' alone.
    """

    name = "exact"
    is_stock = False  #: onnxruntime's, whose optimizer decides by the types what becomes a quantized kernel
    keeps_int8 = False  #: its session has int8 kernels, and turns no int8 into uint8
    pads_averages = True  #: padding may count in an average

    @property
    def is_exact(self) -> bool:
        """True for the graph's own arithmetic."""
        return self.name == "exact"

    def clamped(self, out: Output, low: float | None, high: float | None) -> Output:
        """The output with the clip of an activation that is fused into its kernel."""
        raise NotImplementedError

    def product(self, kind: str, x: np.float32, weights: F32, out: Output, alpha: np.float32) -> Rule:
        """The rule of a convolution's (`kind` conv) or a matrix product's (dense) accumulator."""
        raise NotImplementedError

    def unquantized(self, x: np.float32, weights: F32, alpha: np.float32) -> list[Fraction]:
        """What an integer of an accumulator means that is not quantized."""
        raise NotImplementedError

    def quantize(self, x: F32, out: Output) -> Ints:
        """QuantizeLinear of float32 numbers before the clamp, zero point included."""
        raise NotImplementedError

    def rescale(self, x: np.float32, out: Output) -> Rule:
        """The rule that brings a quantized tensor to another scale."""
        raise NotImplementedError

    def leaky(self, n: Ints, x: np.float32, alpha: np.float32, out: Output) -> Ints:
        """Levels of a LeakyRelu of integers without zero point."""
        raise NotImplementedError

    def sigmoid(self, n: Ints, x: np.float32, out: Output) -> Ints:
        """Levels of a sigmoid of integers without zero point."""
        raise NotImplementedError

    def mean(self, kind: str, x: np.float32, count: int, out: Output, sums: tuple[int, int], zero: int) -> Rule:
        """The rule of a mean of `count` integers: a global pool's (`kind` global), a window's (pool), a ReduceMean's (reduce).

        Parameters
        ----------
        sums : (int, int)
            Least and greatest sum of the integers without zero point; 0 lies between them.
        zero : int
            Their zero point.
        """
        raise NotImplementedError

    def multiplied(self, a: np.float32, b: np.float32, out: Output) -> Rule:
        """The rule of a product of two tensors."""
        raise NotImplementedError

    def added(self, a: Ints, b: Ints, of_a: Affine, of_b: Affine, out: Output) -> tuple[Ints, list[list[Fraction]]]:
        """Levels of all pairs (A, B) of integers without zero points, and what each side adds to the sum, in levels.

        Parameters
        ----------
        of_a, of_b : (scale, zero point)
        """
        raise NotImplementedError

    def input_steps(self, out: Output, rank: int) -> Steps:
        """QuantizeLinear of the network's float input, as a step function of the real number that float32 rounds.

        A real number v is at least the float32 number f after rounding if it lies above the middle of f and the float below,
        or on it and f's last bit is 0.
        """
        most = int(np.array(np.finfo(np.float32).max).view(np.int32))
        levels = np.arange(out.low + 1, out.high + 1)
        first = _bisected(lambda n: self.quantize(_floats(n), out) >= levels, levels.shape, -most, most)
        bounds = []
        for at, below in zip(_floats(first), _floats(first - 1), strict=True):
            between = (Fraction(float(at)) + Fraction(float(below))) / 2
            bounds.append(Half("ge" if int(at.view(np.int32)) % 2 == 0 else "gt", between))
        one, zero = filled(ONE, rank), filled(ZERO, rank)
        return Steps(one, zero, out.low, [bounds], filled(0, rank), one, zero)


def _floats(order: Ints) -> F32:
    """The float32 numbers that stand at these places in their order; 0 is 0."""
    return np.where(order >= 0, order, -(2**31) - order).astype(np.int32).view(np.float32)


EXACT = Semantics()
