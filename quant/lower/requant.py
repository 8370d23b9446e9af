"""Requantization instead of thresholds: the smallest multiplier and shift whose steps land exactly where they must.

A threshold table says for every channel from which integer on each level holds.  A line ``n * m + offset``, shifted right
by s, gives the same levels if at the first integer of each level it has reached it, and at the integer before not yet.
The search takes the least s for which some m does so, for every channel.  Where none does, as halves occur and go to the even
level (scales that are powers of two), it is made once more for shifts that round so; where none does again, the thresholds stay.
So a `Requant` never differs from the exact network on a reachable integer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from intir import Requant, ScaleChannels
from intir.ranges import Range
from intir.types import MAX_BITS, IntType

from .exact import Ints

MIN_LEVELS: Final = 17  # of the output: up to 4 bits, thresholds are the smaller hardware
MAX_SHIFT: Final = 46
MAX_MULTIPLIER_BITS: Final = 32
SPREAD: Final = 0.25  #: how far, relative to it, slopes are searched around that of the exact network
STEPS: Final = 60  #: of a bisection


@dataclass(frozen=True)
class Line:
    """One channel: ``(n * multiplier + offset) >> shift``, where `even` with halves to the even integer."""

    multiplier: int
    shift: int
    offset: int
    even: bool = False

    @property
    def zero_point(self) -> int | None:
        """z where the offset is one half plus z, which a Requant has built in; else None."""
        rest = self.offset - (0 if self.even else (1 << self.shift) >> 1)
        return rest >> self.shift if rest % _period(self.shift, self.even) == 0 else None


def _period(shift: int, even: bool) -> int:
    """Of the offsets that a Requant has built in; twice a level where the parity of levels counts."""
    return 1 << shift + (even and shift > 0)


def requant(table: Ints, kind: IntType, slopes: list[Fraction], proven: Range) -> tuple[ScaleChannels | None, Requant] | None:
    """A Requant that equals a threshold table, with a multiply-add before it if its own rounding offset does not do.

    Returns None if there is none.

    Parameters
    ----------
    table : int64 (C or 1, T)
        Thresholds, normalised to reachable integers.
    kind : IntType
        Output levels.
    slopes : list of Fraction, one per row of the table
        Levels per integer in the exact network.
    proven : Range
        Of the integers.
    """
    shared = len(table) == 1
    found = []
    for c, row in enumerate(table):
        domain = proven.type if shared else IntType(int(proven.lo[c]), int(proven.hi[c]), proven.step)
        found.append((row - domain.step, row, slopes[c], domain))
    return requant_between(found, kind)


def requant_between(rows: list[tuple[Ints, Ints, Fraction, IntType]],
                    kind: IntType) -> tuple[ScaleChannels | None, Requant] | None:
    """The same where not every integer occurs.

    Parameters
    ----------
    rows : list of (int64 (T,), int64 (T,), Fraction, IntType), one per channel
        For each level the greatest integer below it and the least at or above it, the slope, and the integers' type.
    """
    if kind.step != 1 or kind.levels < MIN_LEVELS:
        return None
    found = _lines(rows, kind, False) or _lines(rows, kind, True)
    if not found:
        return None
    rounding = "half_even" if found[0].even else "half_up"
    zeros = [line.zero_point for line in found]
    multiplier, shift, offset = ([getattr(line, name) for line in found] for name in ("multiplier", "shift", "offset"))
    if None not in zeros:
        return None, Requant(_vector(multiplier), _vector(shift), _vector([zero or 0 for zero in zeros]),
                             rounding, kind)
    one, none = _vector([1]), _vector([0])
    rounding = "half_even" if found[0].even else "floor"
    return ScaleChannels(_vector(multiplier), _vector(offset)), Requant(one, _vector(shift), none, rounding, kind)


def _lines(rows: list[tuple[Ints, Ints, Fraction, IntType]], kind: IntType, even: bool) -> list[Line]:
    """A line for every channel, or none."""
    found = []
    for below, above, slope, domain in rows:
        line = _search(below, above, kind, slope, domain, even)
        if line is None:
            return []
        found.append(line)
    return found


def _vector(values: list[int]) -> Ints:
    return np.array(values if len(set(values)) > 1 else values[:1], np.int64)


def _search(below: Ints, above: Ints, kind: IntType, slope: Fraction, domain: IntType, even: bool) -> Line | None:
    """The least shift for one channel, whose integers are those of `domain`."""
    low, high = domain.lo, domain.hi
    levels = kind.lo + 1 + np.arange(len(above), dtype=np.int64)
    reached, missed = above <= high, below >= low
    first, at_first = above[reached], levels[reached]  # there the line must have reached the level
    last, at_last = below[missed], levels[missed]  # and there not yet
    if first.size == 0:  # the channel stays at the lowest level
        return Line(1, 0, kind.lo - high, even)
    if last.size == 0:
        return Line(1, 0, kind.hi - low, even)
    # Of all lines, the slopes that fit are an interval around the one with most room; its ends say which shift can do.
    ends = _slopes(first, at_first, last, at_last, float(slope))
    if ends is None:
        if not even:
            return None
        ends = float(slope), float(slope)  # where halves occur on both sides, no other slope fits
    largest, greatest = max(abs(low), abs(high), 1), int(np.abs(levels).max())
    free = None  # the first line with an offset of its own; one with a built-in offset saves a node
    for shift in range(MAX_SHIFT + 1):
        near = [math.ceil(ends[0] * 2**shift), math.floor(ends[1] * 2**shift), round(slope * 2**shift)]
        if min(near) >= 2**MAX_MULTIPLIER_BITS or largest * (max(near) + 1) >> (MAX_BITS - 2) or \
                greatest << shift >> (MAX_BITS - 2):
            break
        for m in dict.fromkeys([near[2], (near[0] + near[1]) // 2, near[0], near[1], near[0] - 1, near[1] + 1]):
            # With halves to the even level, an odd one is reached by the integer behind its half.
            half = (1 << shift) >> 1
            least = int(((at_first << shift) - first * m + even * ((at_first & (shift > 0)) - half)).max())
            most = int(((at_last << shift) - last * m + even * ((at_last & (shift > 0)) - half)).min()) - 1
            if m < 1 or least > most:
                continue
            base, period = 0 if even else half, _period(shift, even)
            built_in = base + (most - base) // period * period
            if built_in >= least:
                return Line(m, shift, built_in, even)
            free = free or Line(m, shift, most, even)
    return free


def _slopes(first: Ints, at_first: Ints, last: Ints, at_last: Ints, slope: float) -> tuple[float, float] | None:
    """The least and the greatest slope of a line that reaches each level at its first integer and not at the one before.

    In float64, which decides nothing: the search checks its candidates on integers.  None if there is clearly no such line.
    """
    def room(a: float) -> float:
        """How far a line of slope a can be moved up and down: concave in a."""
        return float((at_last - a * last).min() - (at_first - a * first).max())

    low, high = slope * (1 - SPREAD), slope * (1 + SPREAD)
    for _ in range(STEPS):
        thirds = low + (high - low) / 3, high - (high - low) / 3
        low, high = (thirds[0], high) if room(thirds[0]) < room(thirds[1]) else (low, thirds[1])
    best = (low + high) / 2
    if room(best) < -1e-9:
        return None
    ends = []
    for far in (slope * (1 - SPREAD), slope * (1 + SPREAD)):
        inside, outside = best, far
        for _ in range(STEPS):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if room(middle) > 0 else (inside, middle)
        ends.append(inside)
    return min(ends), max(ends)
