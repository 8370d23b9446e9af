"""Exact ranges: the values that a tensor can take, per channel.

A `Range` is one arithmetic progression per channel (the last axis), all with a common step.  Each operation's range
rule maps the ranges of its inputs to the range of its output; with known weights the result is exact: for every
channel there are inputs, within the input's range, that reach each bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import GraphError
from .types import MAX_BITS, IntType

Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Range:
    """Bounds of a tensor per channel.

    Parameters
    ----------
    lo, hi : int64 arrays of shape (C,), C the size of the last axis (1 for a scalar)
        Least and greatest value of each channel.
    step : int
        Every value of channel c is ``lo[c] + k * step``; at least 1.
    """

    lo: Int64
    hi: Int64
    step: int = 1

    @classmethod
    def of(cls, kind: IntType, channels: int) -> Range:
        """The range of a tensor of `channels` channels that may take every value of a type."""
        return cls(np.full(channels, kind.lo, np.int64), np.full(channels, kind.hi, np.int64), kind.step)

    def hull(self, value: int) -> Range:
        """The least range that also holds a constant in every channel."""
        step = math.gcd(self.pace, int(np.gcd.reduce(self.lo - value)))
        return Range(np.minimum(self.lo, value), np.maximum(self.hi, value), step or 1)

    @property
    def type(self) -> IntType:
        """The least type that holds every channel."""
        lo, hi = int(self.lo.min()), int(self.hi.max())
        spread = int(np.gcd.reduce(self.lo - lo))
        return IntType(lo, hi, math.gcd(spread, self.pace) or 1)

    @property
    def pace(self) -> int:
        """The step, or 0 where no channel moves: the divisor that this tensor contributes to a sum's step."""
        return self.step if bool((self.lo != self.hi).any()) else 0

    @property
    def magnitude(self) -> int:
        """Greatest absolute value."""
        return max(abs(int(self.lo.min())), abs(int(self.hi.max())))


def checked(values: NDArray[np.generic], where: str) -> Int64:
    """Bounds computed in exact arithmetic (object) or float64, as int64.

    Raises
    ------
    GraphError
        If one needs more than 62 bits.
    """
    if values.size and max(abs(int(values.min())), abs(int(values.max()))) >> MAX_BITS:
        raise GraphError(f"{where}: a value can reach {max(abs(int(values.min())), abs(int(values.max())))}, beyond "
                         f"{MAX_BITS} bits; use smaller weights or requantize before it")
    return values.astype(np.int64)


def product_bounds(lo: Int64, hi: Int64, weights: Int64, where: str) -> tuple[Int64, Int64]:
    """Exact bounds of ``x @ weights`` for x in [lo, hi].

    Parameters
    ----------
    lo, hi : int64 (K,)
    weights : int64 (K, N)

    Returns
    -------
    (lo, hi) : int64 (N,) each
    """
    largest = max(abs(int(lo.min())), abs(int(hi.max()))) * int(np.abs(weights).max(initial=0)) * max(1, len(lo))
    if largest < 2**53:  # every partial sum is an integer that float64 holds, so BLAS is exact
        positive, negative = np.maximum(weights, 0).astype(np.float64), np.minimum(weights, 0).astype(np.float64)
        flo, fhi = lo.astype(np.float64), hi.astype(np.float64)
        return ((flo @ positive + fhi @ negative).astype(np.int64), (fhi @ positive + flo @ negative).astype(np.int64))
    wide, olo, ohi = weights.astype(object), lo.astype(object), hi.astype(object)
    positive, negative = np.maximum(wide, 0), np.minimum(wide, 0)
    return checked(olo @ positive + ohi @ negative, where), checked(ohi @ positive + olo @ negative, where)
