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
from .errors import LoweringError
from .exact import ONE, Ints, Param, ceil_div, objects
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
        """The arguments for which the chain's value lies in a half-line; `side` chooses an end of an enclosure."""
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
    if isinstance(act.carrier, Source) and ctx.spec is None:
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
    table = _thresholds(columns, proven)
    lo, step, table = _reachable(table, steps.lo, proven)
    return _identity(act, steps, lo, step, table, proven) or _threshold(ctx, act, steps, columns, lo, step, table, proven)


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
    proven = ctx.range(act.carrier.name())
    ends = [column.at(Fraction(end)) for column, *both in zip(columns * (len(proven.lo) // len(columns)), proven.lo.tolist(),
                                                              proven.hi.tolist(), strict=True) for end in both]
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


def _reachable(table: Ints, lo: int, proven: Range) -> tuple[int, int, Ints]:
    """Drop levels that no channel reaches, as far as the rest stays equally spaced.

    Returns
    -------
    (lowest level, distance of levels, thresholds (C or 1, T))
    """
    bottom = proven.lo if len(table) > 1 else proven.lo.min(keepdims=True)
    top = proven.hi if len(table) > 1 else proven.hi.max(keepdims=True)
    edges = np.concatenate([bottom[:, None], table, top[:, None] + 1], axis=1)
    reached = np.flatnonzero((np.diff(edges, axis=1) > 0).any(axis=0))
    if len(reached) == 1:  # a constant; a type of one level has no thresholds, so a neighbour stays
        first = min(int(reached[0]), table.shape[1] - 1)
        return lo + first, 1, np.ascontiguousarray(table[:, first:first + 1])
    kept = IntType.of(reached.astype(np.int64))
    levels = np.arange(kept.lo, kept.hi + 1, kept.step)
    return lo + kept.lo, kept.step, np.ascontiguousarray(table[:, levels[1:] - 1])


def _identity(act: Act, steps: Steps, lo: int, step: int, table: Ints, proven: Range) -> Act | None:
    """The activation itself, where each reachable integer has a level of its own and levels follow one by one."""
    kind = proven.type
    if kind.levels > table.shape[1] + 1 or kind.levels > 2**16 or kind.levels == 1:
        return None
    firsts, shared = [], len(table) == 1
    for c in range(len(table)):
        low, high = (kind.lo, kind.hi) if shared else (int(proven.lo[c]), int(proven.hi[c]))
        stride = kind.step if shared else proven.step
        active = table[c][(table[c] > low) & (table[c] <= high)]
        if not np.array_equal(active, np.arange(low + stride, high + 1, stride)):
            return None
        firsts.append(lo + step * int((table[c] <= low).sum()) - Fraction(low * step, stride))
    assert isinstance(act.carrier, Carrier)
    slope = Fraction(step, kind.step if shared else proven.step)
    first = spread(objects(firsts), act.where, len(firsts))
    return Act(act.carrier, act.where, objects(steps.scale * slope), objects(steps.scale * first + steps.offset), (),
               act.trail)


def encoding(lo: int, step: int, levels: int, scale: Param, offset: Param) -> tuple[IntType, Fraction | None]:
    """Choose the integers that stand for the levels ``q = lo + k * step`` with meaning ``q * scale + offset``.

    Zero-based meaning (integer 0 is real 0) is preferred, for it keeps bipolar, ternary and padded tensors simple; but
    not where it costs bits: an asymmetric unsigned quantizer keeps its 8 bits and gets an offset.

    Returns
    -------
    (type, shrink) : ``real = integer * scale * shrink`` with shrink not None; with None ``integer = k``.
    """
    plain = IntType(0, levels - 1)
    ratios = {o / s for o, s in zip(*(array.ravel() for array in np.broadcast_arrays(offset, scale)), strict=True)}
    if len(ratios) != 1:
        return plain, None
    (ratio,) = ratios
    first, distance = lo * ratio.denominator + ratio.numerator, step * ratio.denominator
    common = math.gcd(first, distance)
    first, distance = first // common, distance // common
    last = first + distance * (levels - 1)
    if max(abs(first), abs(last)) >= 2**31:
        return plain, None
    centred = IntType(first, last, distance)
    if centred.bits > plain.bits or (centred.step > 1 and first != -last):
        return plain, None
    return centred, Fraction(common, ratio.denominator)


def meaning(kind: IntType, shrink: Fraction | None, lo: int, step: int, scale: Param, offset: Param) -> tuple[Param, Param]:
    """Scale and offset of the integers that `encoding` chose."""
    if shrink is None:
        return objects(scale * step), objects(scale * lo + offset)
    return objects(scale * shrink), objects(scale * 0)


def _threshold(ctx: Context, act: Act, steps: Steps, columns: list[Column], lo: int, step: int, table: Ints, proven: Range) -> Act:
    assert isinstance(act.carrier, Carrier)
    kind, shrink = encoding(lo, step, table.shape[1] + 1, steps.scale, steps.offset)
    if len(table) > 1 and bool((table == table[0]).all()):
        table = table[:1]
    requantized = _requant(ctx, act, columns, steps, step, kind, shrink, table, proven)
    if requantized is not None:
        scale, offset = meaning(kind, shrink, lo, step, steps.scale, steps.offset)
        return fresh(requantized, act.carrier.shape, act.where, scale, offset)
    channels = "for all channels" if len(table) == 1 else f"for each of {len(table)} channels"
    name = ctx.emit(Threshold(table, kind), [act.carrier.name()], act.trail,
                    f"Threshold, {table.shape[1]} {channels}, from {proven.type} to {kind}")
    scale, offset = meaning(kind, shrink, lo, step, steps.scale, steps.offset)
    return fresh(name, act.carrier.shape, act.where, scale, offset)


def _requant(ctx: Context, act: Act, columns: list[Column], steps: Steps, step: int, kind: IntType, shrink: Fraction | None,
             table: Ints, proven: Range) -> str | None:
    """Add a Requant if one is exact; returns its value's name."""
    assert isinstance(act.carrier, Carrier)
    # v counts levels of distance 1; the integers of the output are `step` of them apart, or as `encoding` shrank them
    per_level = Fraction(1, step) if shrink is None else 1 / shrink
    if any(column.slope is None for column in columns):
        return None
    found = requant(table, kind, [Fraction(column.slope or 0) * per_level for column in columns[:len(table)]], proven)
    if found is None:
        return None
    scaler, op = found
    name, multipliers = act.carrier.name(), op.multiplier
    if scaler is not None:
        name, multipliers = ctx.emit(scaler, [name], act.trail, "ScaleChannels in front of a Requant"), scaler.multiplier
    return ctx.emit(op, [name], act.trail, f"Requant, multipliers up to {multipliers.max()}, shifts up to {op.shift.max()}, "
                    f"from {proven.type} to {kind}")


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
    kind, shrink = encoding(lo, 1, len(halves[0]) + 1, scale, offset)
    scale, offset = meaning(kind, shrink, lo, 1, scale, offset)
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

