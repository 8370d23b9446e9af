"""Joins of tensors that are functions of one and the same integer: x * sigmoid(x), x - b * sign(x), ...

The IR could compute both sides and join them, on a grid that holds both; but often that grid is fine and wide, or, behind
a Sigmoid, there is none.  As long as a quantizer follows, the join is one function of the integer that both come from:
it goes onto the chain of that integer, and the quantizer tabulates it.  An operator that wants integers gets the join
made apart, as if the sides had nothing in common.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from intir.types import IntType

from .chain import TABULATED, Function, Linear
from .context import Context
from .exact import Array, Ints, Param, collapse, filled, objects
from .tabulate import MAX_DOMAIN
from .tensors import Act, Carrier, Source

Interval = tuple[Fraction, Fraction]

MAX_PARAMS = 2**8  #: of a join; joins of joins double them


def _product(a: Interval, b: Interval) -> Interval:
    ends = [x * y for x in a for y in b]
    return min(ends), max(ends)


_JOINS: dict[str, Callable[[Interval, Interval], Interval]] = {
    "Add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "Sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "Mul": _product,
}


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a join, as a function of the root integer.

    Parameters
    ----------
    table : int64 (L, C or 1), or None for the integer itself
        The side's own integer for each root integer, per channel of the root.
    functions : tuple of Function
        What follows; only their kinds are used, their constants come from the join's params.
    """

    table: Ints | None
    functions: tuple[Function, ...]


@dataclass(frozen=True, eq=False)
class Joined(Function):
    """The join of two sides.  Its params: the root's channel, then those of all functions of both sides, in order.

    Parameters
    ----------
    kind : str
        Add, Sub or Mul.
    domain : IntType
        Of the root integer.
    sides : (Side, Side)
    apart : callable
        Gives the join as an activation over an IR value of its own.
    """

    kind: str = ""
    domain: IntType = field(default_factory=lambda: IntType(0, 0))
    sides: tuple[Side, Side] = field(default_factory=lambda: (Side(None, ()), Side(None, ())))
    apart: Callable[[], Act] | None = None

    def moved(self, turn: Callable[[Param], Param], move: Callable[[Array], Array]) -> Joined:
        made = self.apart
        return replace(self, params=tuple(turn(param) for param in self.params),
                       apart=None if made is None else cache(lambda: made().moved(move)))

    def direction(self, *constants: Any) -> int:
        return TABULATED

    def enclose(self, low: Fraction, high: Fraction, *constants: Any) -> Interval:
        integer, channel, rest = int(low), int(constants[0]), list(constants[1:])
        found = []
        for side in self.sides:
            if side.table is not None:
                row = side.table[(integer - self.domain.lo) // self.domain.step]
                value = Fraction(int(row[channel if len(row) > 1 else 0]))
            else:
                value = Fraction(integer)
            ends = value, value
            for function in side.functions:
                count = len(function.params)
                ends = function.enclose(*ends, *rest[:count])
                rest = rest[count:]
            found.append(ends)
        return _JOINS[self.kind](found[0], found[1])


def of_one_integer(ctx: Context, kind: str, a: Act, b: Act, apart: Callable[[], Act]) -> Act | None:
    """The join as a function of the integer that both sides come from; None if there is none, or no need.

    Parameters
    ----------
    kind : str
        Add, Sub or Mul.
    a, b : Act
    apart : callable
        Makes the join in another way.
    """
    if any(isinstance(one.carrier, Source) and one.carrier.spec is None for one in (a, b)):
        return None
    if a.carrier is not b.carrier and not all(isinstance(one.carrier, Carrier) and one.carrier.exists for one in (a, b)):
        return None
    a, b = ctx.settled(a), ctx.settled(b)
    if a.shape != b.shape or a.carrier.shape != b.carrier.shape or not np.array_equal(a.where, b.where):
        return None
    assert isinstance(a.carrier, Carrier) and isinstance(b.carrier, Carrier)
    lines = [ctx.ancestors(name) for name in (a.carrier.name(), b.carrier.name())]
    shared = [name for name in lines[0] if name in lines[1]]
    if not shared or ctx.type(shared[0]).levels > MAX_DOMAIN or ctx.builder.values[shared[0]].shape != a.carrier.shape:
        return None
    root = shared[0]
    domain = ctx.type(root)
    sides = tuple(Side(_table(ctx, line[:line.index(root)], domain, a.carrier.shape[-1]),
                       (Linear((act.scale, act.offset)), *act.chain)) for act, line in ((a, lines[0]), (b, lines[1])))
    channel = filled(0, len(a.shape))
    if any(side.table is not None and side.table.shape[1] > 1 for side in sides):
        channel = objects(collapse(a.where % a.carrier.shape[-1]).astype(object))
    params = (channel, *(param for side in sides for function in side.functions for param in function.params))
    if len(params) > MAX_PARAMS:
        return None
    joined = Joined(params, kind, domain, (sides[0], sides[1]), cache(apart))
    one, zero = filled(Fraction(1), len(a.shape)), filled(Fraction(0), len(a.shape))
    return Act(Carrier.made(root, a.carrier.shape), a.where, one, zero, (joined,), (*a.trail, *b.trail))


def is_joined(act: Act) -> bool:
    """True if there is a join on the activation's chain."""
    return any(isinstance(function, Joined) for function in act.chain)


def made_apart(act: Act) -> Act:
    """The activation with its last join made apart, if it has one; what follows stays on its chain."""
    for position in reversed(range(len(act.chain))):
        function = act.chain[position]
        if isinstance(function, Joined) and function.apart is not None:
            made = function.apart()
            for later in act.chain[position + 1:]:
                made = made.linear(*later.params) if isinstance(later, Linear) else made.then(later)
            return made
    return act


def _table(ctx: Context, path: list[str], domain: IntType, channels: int) -> Ints | None:
    """What element-wise nodes (the last first) make of each root integer: (L, C), or (L, 1) if channels are alike."""
    if not path:
        return None
    values = np.arange(domain.lo, domain.hi + 1, domain.step)[:, None].repeat(channels, axis=1)
    for name in reversed(path):
        parent, op = ctx.elementwise[name]
        values = op.evaluate(values, ranges=[ctx.range(parent)]).astype(np.int64)
    return values[:, :1] if bool((values == values[:, :1]).all()) else values
