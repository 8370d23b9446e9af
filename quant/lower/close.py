"""Closing a chain: a quantizer as a step function of the accumulator's integer.

`close` inverts the chain of exact real functions at every boundary of the quantizer; per channel that gives the least
integer from which each level holds.  It ends in one of four forms:

- nothing, where the quantizer maps the reachable integers one to one onto equally spaced levels;
- the hardware's input with a `HostStep`, where the quantizer reads the network's float input;
- a `Requant` (`requant.py`), where the output has more than 4 bits and one is exact;
- a `Threshold`.

Unreachable levels are dropped first, so that a quantizer of which only two opposite levels occur is bipolar.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intir import HostStep, ScaleChannels, Threshold
from intir.ranges import Range
from intir.types import IntType

from .chain import ALL, NONE, Clip, Function, Half, Linear
from .context import Context
from .encoding import Levels, encoding
from .errors import LoweringError
from .exact import ONE, Ints, ceil_div, objects
from .inputs import canonical, ir_order
from .layout import in_own_layout
from .requant import requant
from .smooth import Smooth
from .steps import Steps
from .tensors import Act, Carrier, Shape, Source, fresh, per_channel, spread

#: A threshold beyond every float64: a level that a host's float never, or always, reaches.
BEYOND = Fraction(2) ** 1024


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
        if any(abs(one) > 1 for one in directions):
            raise LoweringError("the function in front of it is not monotone; put a quantizer before that function")
        return math.prod(directions)

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

    def at(self, x: Fraction) -> Fraction:
        """The chain's value."""
        for function, constants in self.functions:
            x = function.at(x, *constants)
        return x

    @property
    def is_smooth(self) -> bool:
        """True if it has a function whose inverse is known only within an enclosure."""
        return any(isinstance(function, Smooth) for function, _ in self.functions)

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


def close(ctx: Context, act: Act, steps: Steps) -> Act:
    """The activation behind a quantizer.

    Raises
    ------
    LoweringError
        If the quantizer or the functions before it vary inside a channel, or are not monotone.
    """
    act = act.via(ctx.node).linear(steps.factor, steps.summand)
    if isinstance(act.carrier, Source) and act.carrier.spec is None:
        return _host_input(ctx, act, steps)
    if isinstance(act.carrier, Source):
        act = ctx.settled(act)
    columns = _columns(act, steps)
    if columns is None:
        act = in_own_layout(ctx, act)
        columns = _columns(act, steps)
    if columns is None:
        raise LoweringError("its scale, or a constant in front of it, varies inside a channel; use one value per channel")
    act, columns = _rising(ctx, act, steps, columns)
    assert isinstance(act.carrier, Carrier)
    proven = ctx.range(act.carrier.name())
    table = _reachable(_thresholds(columns, proven), steps.lo, columns, proven)
    return _identity(act, steps, table) or _step_node(ctx, act, steps, table)


def extent(ctx: Context, act: Act) -> tuple[Fraction, Fraction]:
    """Least and greatest real value that an activation can take (its functions must be monotone)."""
    act = ctx.settled(act)
    assert isinstance(act.carrier, Carrier)
    steps = Steps(act.scale, act.offset, 0, [[]], objects(act.scale * 0), act.scale, act.offset)
    columns = _columns(act, steps)
    if columns is None:
        act = in_own_layout(ctx, act)
        columns = _columns(act, steps)
    if columns is None:
        raise LoweringError("its scale, or a constant in front of it, varies inside a channel; use one value per channel")
    assert isinstance(act.carrier, Carrier)
    proven = ctx.range(act.carrier.name())
    spread_out = columns * (len(proven.lo) // len(columns))
    ends = [column.at(Fraction(int(bounds[c]))) for c, column in enumerate(spread_out) for bounds in (proven.lo, proven.hi)]
    return min(ends), max(ends)


def _columns(act: Act, steps: Steps, shape: Shape = ()) -> list[Column] | None:
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

    def pick(vector: Any, c: int) -> Any:
        return vector[c if len(vector) > 1 else 0]

    return [Column(tuple((function, tuple(pick(part, c) for part in parts)) for function, parts in vectors),
                   steps.bounds[int(pick(group, c))]) for c in range(count)]


def _rising(ctx: Context, act: Act, steps: Steps, columns: list[Column]) -> tuple[Act, list[Column]]:
    """Make every channel rise with its integer: free if the product was not made yet, else by ScaleChannels."""
    assert isinstance(act.carrier, Carrier)
    channels = act.carrier.shape[-1]
    for attempt in ("weights", "node"):
        falling = np.array([column.direction < 0 for column in columns])
        if not falling.any():
            return ctx.settled(act), columns
        mask = np.broadcast_to(falling, (channels,)).copy()
        if attempt == "weights" and not act.carrier.exists and act.carrier.can_negate:
            act.carrier.name(mask)
            act = ctx.settled(act)
        else:
            act = negated(ctx, ctx.settled(act), mask)
        again = _columns(act, steps)
        assert again is not None  # the same params with other signs
        columns = again
    return act, columns


def negated(ctx: Context, act: Act, mask: NDArray[np.bool_]) -> Act:
    """A settled activation with some IR channels negated by a ScaleChannels."""
    assert isinstance(act.carrier, Carrier)
    sign = np.where(mask, -1, 1).astype(np.int64)
    vector = sign[:1] if (sign == sign[0]).all() else sign
    name = ctx.emit(ScaleChannels(vector, np.zeros(1, np.int64)), [act.carrier.name()], act.trail,
                    f"ScaleChannels, {int(mask.sum())} falling channels negated")
    turned = spread(objects(sign.astype(object)), act.where, len(sign))
    return replace(act, carrier=Carrier.made(name, act.carrier.shape), scale=objects(act.scale * turned))


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


def _thresholds(columns: list[Column], proven: Range) -> Ints:
    """(C or 1, T): the least integer, among those that can occur, from which each level holds."""
    lows, highs = [int(low) for low in proven.lo], [int(high) for high in proven.hi]
    if len(columns) == 1:
        lows, highs = [min(lows)], [max(highs)]
        step = proven.type.step
    else:
        step = proven.step
    table = [[column.least_integer(bound, low, high, step) for bound in column.bounds]
             for column, low, high in zip(columns, lows, highs, strict=True)]
    return np.array(table, np.int64)


@dataclass(frozen=True, eq=False)
class Table:
    """A quantizer as a function of reachable integers.

    Parameters
    ----------
    thresholds : int64 (C or 1, T)
        The least reachable integer from which each level but the lowest holds; above all integers where none does.
    levels : Levels
    columns : list of Column, C or 1
    proven : Range
        Of the integers.
    """

    thresholds: Ints
    levels: Levels
    columns: list[Column]
    proven: Range


def _reachable(table: Ints, lo: int, columns: list[Column], proven: Range) -> Table:
    """Drop levels that no channel reaches, as far as the rest stays equally spaced."""
    bottom = proven.lo if len(table) > 1 else proven.lo.min(keepdims=True)
    top = proven.hi if len(table) > 1 else proven.hi.max(keepdims=True)
    edges = np.concatenate([bottom[:, None], table, top[:, None] + 1], axis=1)
    reached = np.flatnonzero((np.diff(edges, axis=1) > 0).any(axis=0))
    if len(reached) == 1:  # a constant; a type of one level has no thresholds, so a neighbour stays
        first = min(int(reached[0]), table.shape[1] - 1)
        return Table(np.ascontiguousarray(table[:, first:first + 1]), Levels(lo + first, 1, 2), columns, proven)
    kept = IntType.of(reached.astype(np.int64))
    indices = np.arange(kept.lo, kept.hi + 1, kept.step)
    return Table(np.ascontiguousarray(table[:, indices[1:] - 1]), Levels(lo + kept.lo, kept.step, kept.levels), columns, proven)


def _identity(act: Act, steps: Steps, table: Table) -> Act | None:
    """The activation itself, where each reachable integer has a level of its own and levels follow one by one."""
    kind, levels, proven = table.proven.type, table.levels, table.proven
    if kind.levels > levels.count or kind.levels == 1:
        return None
    firsts, shared = [], len(table.thresholds) == 1
    stride = kind.step if shared else proven.step
    for c, row in enumerate(table.thresholds):
        low, high = (kind.lo, kind.hi) if shared else (int(proven.lo[c]), int(proven.hi[c]))
        active = row[(row > low) & (row <= high)]
        if not np.array_equal(active, np.arange(low + stride, high + 1, stride)):
            return None
        firsts.append(levels.lo + levels.step * int((row <= low).sum()) - Fraction(low * levels.step, stride))
    first = spread(objects(firsts), act.where, len(firsts))
    scale = objects(steps.scale * Fraction(levels.step, stride))
    return replace(act, scale=scale, offset=objects(steps.scale * first + steps.offset), chain=())


def _step_node(ctx: Context, act: Act, steps: Steps, table: Table) -> Act:
    """Add a Requant if one is exact, else a Threshold."""
    assert isinstance(act.carrier, Carrier)
    chosen = encoding(table.levels, steps.scale, steps.offset)
    name, proven = act.carrier.name(), table.proven
    found = None
    if all(column.slope is not None for column in table.columns):
        slopes = [Fraction(column.slope or 0) * chosen.per_level for column in table.columns]
        found = requant(table.thresholds, chosen.type, slopes, proven)
    if found is not None:
        scaler, op = found
        multipliers = op.multiplier
        if scaler is not None:
            name, multipliers = ctx.emit(scaler, [name], act.trail, "ScaleChannels in front of a Requant"), scaler.multiplier
        name = ctx.emit(op, [name], act.trail, f"Requant, multipliers up to {multipliers.max()}, shifts up to {op.shift.max()}, "
                        f"from {proven.type} to {chosen.type}")
    else:
        rows = table.thresholds
        if len(rows) > 1 and bool((rows == rows[0]).all()):
            rows = rows[:1]
        channels = "for all channels" if len(rows) == 1 else f"for each of {len(rows)} channels"
        name = ctx.emit(Threshold(rows, chosen.type), [name], act.trail,
                        f"Threshold, {rows.shape[1]} {channels}, from {proven.type} to {chosen.type}")
    scale, offset = chosen.meaning(table.levels, steps.scale, steps.offset)
    return fresh(name, act.carrier.shape, act.where, scale, offset)


def _host_input(ctx: Context, act: Act, steps: Steps) -> Act:
    """The quantizer's output as the hardware's input; a host compares its floats with exact rationals."""
    advice = "give the input's integers with --input, for example --input u8/255"
    _, shape = ir_order(act.where, ctx.channels_first)
    seen = replace(act, where=canonical(act.shape, ctx.channels_first))  # the layout that the input will have
    columns = _columns(seen, steps, shape)
    scale, offset = (per_channel(param, seen.where, shape) for param in (steps.scale, steps.offset))
    if columns is None or scale is None or offset is None:
        raise LoweringError(f"it reads the float input through constants that vary inside a channel; {advice}")
    if sorted(act.where.ravel().tolist()) != list(range(math.prod(act.carrier.shape))):
        raise LoweringError(f"it reads a part of the float input only; {advice}")
    directions = {column.direction for column in columns}
    if directions == {1, -1}:
        raise LoweringError(f"it reads the float input through rising and falling channels; {advice}")
    if any(column.is_smooth for column in columns):
        raise LoweringError(f"its boundaries on the float input are irrational; {advice}")
    halves = [[column.inverse(bound) for bound in column.bounds] for column in columns]
    lo = steps.lo
    if directions == {-1}:  # count the other way round: at least k from below is less than k from above
        halves = [[_complement(half) for half in reversed(row)] for row in halves]
        lo, scale = -(lo + len(steps.bounds[0])), objects(-scale)
    levels = Levels(lo, 1, len(halves[0]) + 1)
    chosen = encoding(levels, scale, offset)
    kind = chosen.type
    scale, offset = chosen.meaning(levels, scale, offset)
    thresholds = tuple(tuple(_finite(half) for half in row) for row in halves)
    strict = tuple(tuple(half.kind == "gt" for half in row) for row in halves)
    if len(set(thresholds)) == len(set(strict)) == 1:
        thresholds, strict = thresholds[:1], strict[:1]
    rule = ""
    if len(thresholds) == 1 and len(thresholds[0]) == 1:
        rule = f": {kind.hi} where x {'>' if strict[0][0] else '>='} {thresholds[0][0]}, else {kind.lo}"
    host = HostStep(f"{', '.join(act.trail)}{rule}"[:400], None, thresholds, strict)
    return ctx.quantized_input(act, kind, scale, offset, host)


def _complement(half: Half) -> Half:
    return {"all": NONE, "none": ALL, "le": Half("gt", half.bound), "lt": Half("ge", half.bound)}[half.kind]


def _finite(half: Half) -> Fraction:
    if half.kind in ("all", "none"):
        return -BEYOND if half.kind == "all" else BEYOND
    return half.bound

