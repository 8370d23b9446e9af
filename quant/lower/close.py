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

import numpy as np
from numpy.typing import NDArray

from intir import HostStep, Requant, ScaleChannels, Threshold
from intir.ranges import Range
from intir.types import IntType

from .chain import ALL, NONE, Half
from .columns import Column, WholeBounds, columns_of, in_columns
from .context import Context
from .encoding import Levels, encoding
from .errors import LoweringError
from .exact import Ints, objects
from .inputs import canonical, ir_order
from .oneint import is_joined, made_apart
from .requant import requant
from .steps import Steps
from .tabulate import domain_of, is_narrow, level, lookup
from .tensors import Act, Carrier, Source, fresh, per_channel, spread

#: A threshold beyond every float64: a level that a host's float never, or always, reaches.
BEYOND = Fraction(2) ** 1024


def close(ctx: Context, act: Act, steps: Steps, *, is_new: bool = True) -> Act:
    """The activation behind a quantizer; `is_new` unless the quantizer's factor and summand are on the chain already.

    Raises
    ------
    LoweringError
        If the quantizer or the functions before it vary inside a channel, or are not monotone.
    """
    if is_new:
        act = act.via(ctx.node).linear(steps.factor, steps.summand)
    if isinstance(act.carrier, Source) and act.carrier.spec is None:
        return _host_input(ctx, act, steps)
    if isinstance(act.carrier, Source):
        act = ctx.settled(act)
    act, columns = in_columns(ctx, act, steps)
    if not all(column.is_monotone for column in columns):
        return _tabulated(ctx, ctx.settled(act), steps, columns)
    act, columns = _rising(ctx, act, steps, columns)
    assert isinstance(act.carrier, Carrier)
    proven = ctx.range(act.carrier.name())
    table = _reachable(_thresholds(columns, proven), steps.lo, columns, proven)
    return _identity(act, steps, table) or _step_node(ctx, act, steps, table)


def _tabulated(ctx: Context, act: Act, steps: Steps, columns: list[Column]) -> Act:
    """Close a chain that is not monotone: a table of levels, and the same forms as always where they rise after all."""
    again = columns_of(act, steps)
    assert again is not None and isinstance(act.carrier, Carrier)  # settling only turns signs
    columns, proven = again, ctx.range(act.carrier.name())
    if is_joined(act) and not is_narrow(proven, len(columns)):
        return close(ctx, made_apart(act), steps, is_new=False)
    domains = domain_of(proven, len(columns))
    levels = [np.array([level(column.bounds, *column.enclose(integer)) for integer in domain], np.int64)
              for column, domain in zip(columns, domains, strict=True)]
    if any(bool((np.diff(one) < 0).any()) for one in levels):
        return lookup(ctx, act, steps, levels, domains, proven)
    counts = np.arange(1, len(steps.bounds[0]) + 1)
    rows = [domain.start + domain.step * np.searchsorted(one, counts) for one, domain in zip(levels, domains, strict=True)]
    table = _reachable(np.array(rows, np.int64), steps.lo, columns, proven)
    return _identity(act, steps, table) or _step_node(ctx, act, steps, table)


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
        again = columns_of(act, steps)
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


def _thresholds(columns: list[Column], proven: Range) -> Ints:
    """(C or 1, T): the least integer, among those that can occur, from which each level holds."""
    lows, highs = [int(low) for low in proven.lo], [int(high) for high in proven.hi]
    if len(columns) == 1:
        lows, highs = [min(lows)], [max(highs)]
        step = proven.type.step
    else:
        step = proven.step
    whole = {id(column.bounds): column.bounds for column in columns}
    prepared = {key: WholeBounds.of(bounds) for key, bounds in whole.items()}
    table = [column.least_integers(low, high, step, prepared[id(column.bounds)])
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
        name = requantized(ctx, name, *found, act.trail)
    else:
        rows = table.thresholds
        if len(rows) > 1 and bool((rows == rows[0]).all()):
            rows = rows[:1]
        channels = "for all channels" if len(rows) == 1 else f"for each of {len(rows)} channels"
        name = ctx.emit(Threshold(rows, chosen.type), [name], act.trail,
                        f"Threshold, {rows.shape[1]} {channels}, from {proven.type} to {chosen.type}")
    scale, offset = chosen.meaning(table.levels, steps.scale, steps.offset)
    return fresh(name, act.carrier.shape, act.where, scale, offset)


def requantized(ctx: Context, name: str, scaler: ScaleChannels | None, op: Requant, trail: tuple[str, ...]) -> str:
    """Add what the search for a Requant found; returns its value's name."""
    kind, multipliers = ctx.range(name).type, op.multiplier
    if scaler is not None:
        name, multipliers = ctx.emit(scaler, [name], trail, "ScaleChannels in front of a Requant"), scaler.multiplier
    note = f"Requant, multipliers up to {multipliers.max()}, shifts up to {op.shift.max()}, from {kind} to {op.out}"
    return ctx.emit(op, [name], trail, note)


def _host_input(ctx: Context, act: Act, steps: Steps) -> Act:
    """The quantizer's output as the hardware's input; a host compares its floats with exact rationals."""
    advice = "give the input's integers with --input, for example --input u8/255"
    _, shape = ir_order(act.where, ctx.channels_first)
    seen = replace(act, where=canonical(act.shape, ctx.channels_first))  # the layout that the input will have
    columns = columns_of(seen, steps, shape)
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

