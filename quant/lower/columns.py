"""What one channel's integer goes through in front of a quantizer, exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from intir.ranges import Range

from .chain import TABULATED, Clip, Function, Half, Linear
from .context import Context
from .errors import LoweringError
from .exact import ONE, Ints, ceil_div, objects
from .layout import MAX_ELEMENTS, element_wise, in_own_layout
from .smooth import Smooth
from .steps import Steps
from .tabulate import domain_of
from .tensors import Act, Carrier, Shape, per_channel

MAX_BOUNDS = 2**22  #: of a quantizer, over all channels


@dataclass(frozen=True)
class WholeBounds:
    """Boundaries as integers over one denominator; each is reached from itself on if closed, else from what lies above."""

    numerators: list[int]
    unit: int
    closed: list[bool]

    @classmethod
    def of(cls, bounds: list[Half]) -> WholeBounds | None:
        """None if not all of them are finite and rise."""
        if any(one.kind not in ("ge", "gt") for one in bounds):
            return None
        unit = math.lcm(*{one.bound.denominator for one in bounds})
        return cls([one.bound.numerator * (unit // one.bound.denominator) for one in bounds], unit,
                   [one.kind == "ge" for one in bounds])


@dataclass(frozen=True, eq=False)
class Column:
    """Everything that one channel's integer goes through: functions with their constants, and the boundaries."""

    functions: tuple[tuple[Function, tuple[Any, ...]], ...]
    bounds: list[Half]

    @property
    def direction(self) -> int:
        """+1 rising (or constant), -1 falling."""
        directions = [function.direction(*constants) for function, constants in self.functions]
        if 0 in directions:
            return 1
        if TABULATED in directions:
            raise LoweringError("the function in front of it is not monotone; put a quantizer before that function")
        return math.prod(directions)

    @property
    def is_monotone(self) -> bool:
        """True if no function in it needs a table."""
        return all(function.direction(*constants) != TABULATED for function, constants in self.functions)

    def inverse(self, half: Half, side: int = 0) -> Half:
        """Arguments for which the chain's value lies in a half-line; `side` chooses an end of an enclosure."""
        for function, constants in reversed(self.functions):
            if isinstance(function, Smooth):
                half = function.enclosed(half, side, *constants)
            else:
                half = function.inverse(half, *constants)
        return half

    @property
    def slope(self) -> Fraction | None:
        """Slope of the chain where nothing is clipped; None if it has none."""
        if not all(isinstance(function, (Linear, Clip)) for function, _ in self.functions):
            return None
        slope = ONE
        for function, constants in self.functions:
            slope *= constants[0] if isinstance(function, Linear) else ONE
        return slope

    def enclose(self, integer: int) -> tuple[Fraction, Fraction]:
        """Bounds of the chain's value at an integer; equal where it is rational."""
        low = high = Fraction(integer)
        for function, constants in self.functions:
            low, high = function.enclose(low, high, *constants)
        return low, high

    @property
    def is_smooth(self) -> bool:
        """True if it has a function whose inverse is known only within an enclosure."""
        return any(isinstance(function, Smooth) for function, _ in self.functions)

    def least_integers(self, lo: int, hi: int, step: int, whole: WholeBounds | None) -> Ints:
        """`least_integer` for every boundary; `whole` are the boundaries, prepared once for all columns that share them.

        Behind a rising linear function, by far the most common, it takes integers alone: 16-bit quantizers have 65,535
        boundaries.
        """
        line = self.line
        if line is None or whole is None:
            return np.array([self.least_integer(bound, lo, hi, step) for bound in self.bounds], np.int64)
        slope, summand = line
        factor = summand.denominator * slope.denominator
        start, bottom = summand.numerator * whole.unit * slope.denominator, whole.unit * summand.denominator * slope.numerator
        beyond = hi + step
        least = [min(max(-((start - factor * one) // bottom) if closed else (factor * one - start) // bottom + 1, lo), beyond)
                 for one, closed in zip(whole.numerators, whole.closed, strict=True)]
        return np.asarray(lo + -((lo - np.array(least, np.int64)) // step) * step)

    @property
    def line(self) -> tuple[Fraction, Fraction] | None:
        """Slope and summand if there are but linear functions, and their product rises."""
        if not all(isinstance(function, Linear) for function, _ in self.functions):
            return None
        slope, summand = ONE, ONE * 0
        for _, (factor, offset) in self.functions:
            slope, summand = slope * factor, summand * factor + offset
        return (slope, summand) if slope > 0 else None

    def least_integer(self, bound: Half, lo: int, hi: int, step: int) -> int:
        """The least of lo, lo + step, ..., hi whose value lies in a half-line; hi + step if there is none.

        Raises
        ------
        LoweringError
            If an integer lies inside the enclosure of a boundary.
        """
        least = {least_integer(self.inverse(bound, side), lo, hi, step) for side in ((-1, 1) if self.is_smooth else (0,))}
        if len(least) > 1:
            raise LoweringError(f"whether {min(least)} is beyond a boundary is not decided by 200 bits; change its scale slightly")
        return least.pop()


def least_integer(half: Half, lo: int, hi: int, step: int) -> int:
    """The least of lo, lo + step, ..., hi inside a rising half-line; hi + step if there is none."""
    if half.kind == "all":
        return lo
    if half.kind == "none":
        return hi + step
    bound = half.bound
    least = ceil_div(bound.numerator, bound.denominator)
    if half.kind == "gt" and bound.denominator == 1:
        least += 1
    steps = min(max(ceil_div(least - lo, step), 0), (hi - lo) // step + 1)
    return lo + steps * step


def columns_of(act: Act, steps: Steps, shape: Shape = ()) -> list[Column] | None:
    """One column per IR channel; a single one if all are alike; None if something varies inside a channel."""
    shape = shape or act.carrier.shape
    first = Linear((act.scale, act.offset))
    vectors = []
    for function in (first, *act.chain):
        parts = [per_channel(param, act.where, shape) for param in function.params]
        if any(part is None for part in parts):
            return None
        vectors.append((function, parts))
    group = per_channel(steps.group, act.where, shape)
    if group is None:
        return None
    count = max(len(group), *(len(part) for _, parts in vectors for part in parts))  # type: ignore[arg-type]
    if count * len(steps.bounds[0]) > MAX_BOUNDS:
        raise LoweringError(f"it has {len(steps.bounds[0]) + 1} levels for each of {count} channels, and at most {MAX_BOUNDS} "
                            "boundaries can be computed; use fewer bits, or one scale for all channels")

    def pick(vector: Any, c: int) -> Any:
        return vector[c if len(vector) > 1 else 0]

    return [Column(tuple((function, tuple(pick(part, c) for part in parts)) for function, parts in vectors),
                   steps.bounds[int(pick(group, c))]) for c in range(count)]


def in_columns(ctx: Context, act: Act, steps: Steps) -> tuple[Act, list[Column]]:
    """The activation in a layout in which all that it goes through is constant per channel, and its columns.

    Raises
    ------
    LoweringError
        If it is too large for every element to be a channel of its own.
    """
    for layout in (None, in_own_layout, element_wise):
        if layout is element_wise and act.where.size > MAX_ELEMENTS:
            break
        tried = layout(ctx, act) if layout else act
        columns = columns_of(tried, steps)
        if columns is not None:
            return tried, columns
    raise LoweringError("its scale, or a constant in front of it, varies inside a channel; use one value per channel, or at most "
                        f"{MAX_ELEMENTS} values")


def extent(ctx: Context, act: Act) -> tuple[Fraction, Fraction]:
    """Least and greatest real value that an activation can take."""
    act = ctx.settled(act)
    assert isinstance(act.carrier, Carrier)
    steps = Steps(act.scale, act.offset, 0, [[]], objects(act.scale * 0), act.scale, act.offset)
    act, columns = in_columns(ctx, act, steps)
    assert isinstance(act.carrier, Carrier)
    proven = ctx.range(act.carrier.name())
    ends = []
    for column, domain in zip(columns, domain_of(proven, len(columns), limited=False), strict=True):
        if column.is_monotone:
            points: Sequence[int] = (domain[0], domain[-1])
        else:
            points = domain_of(Range(np.array([domain[0]]), np.array([domain[-1]]), domain.step), 1)[0]
        ends += [end for point in points for end in column.enclose(point)]
    return min(ends), max(ends)
