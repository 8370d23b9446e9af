"""Operators with several computed inputs: Add, Sub, Mul of activations, Concat; and Pad, which joins with a constant.

Activations with different scales are added on their greatest common unit, exactly.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from intir import Add, Concat, Mul, Op, Pad, Sub

from .context import Context
from .elementwise import add_const, mul_const
from .errors import LoweringError
from .exact import ONE, Param, filled, objects, rational_gcd
from .inputs import canonical
from .layout import in_own_layout
from .node import OnnxNode, lowers
from .oneint import of_one_integer
from .realise import channels_of, on_grid, own_integers, zero_based
from .tensors import Act, Carrier, Shape, fresh, spread


@lowers("Add", "Sub")
def _add(ctx: Context, node: OnnxNode) -> Act:
    if not node.joins:
        return add_const(ctx, node)
    a, b = _same_rank(ctx, node)
    sign = 1 if node.op_type == "Add" else -1
    if a.carrier is b.carrier and a.shape == b.shape and np.array_equal(a.where, b.where) and not a.chain and not b.chain:
        return replace(a, scale=objects(a.scale + sign * b.scale), offset=objects(a.offset + sign * b.offset))
    return of_one_integer(ctx, node.op_type, a, b, lambda: added(ctx, node.name, a, b, sign)) or added(ctx, node.name, a, b, sign)


def added(ctx: Context, name: str, a: Act, b: Act, sign: int) -> Act:
    """``a + sign * b``, on the greatest unit that both have in common; `name` is for the trail."""
    a, b = (own_integers(ctx, one) for one in (a, b))
    shape = _joined(a, b)
    a, (sa, oa) = channels_of(ctx, a, a.scale, a.offset)
    b, (sb, ob) = channels_of(ctx, b, b.scale, b.offset)
    channels = max(len(sa), len(sb))
    sa, oa, sb, ob = (np.broadcast_to(one, (channels,)) for one in (sa, oa, sb, ob))
    units = objects([rational_gcd([abs(x), abs(y)]) or ONE for x, y in zip(sa, sb, strict=True)])
    # b keeps its own sign where that saves a ScaleChannels: a - b is a Sub, and -a + b a Sub the other way round.
    signs = [1 if bool((s < 0).sum() * 2 <= channels) else -1 for s in (sa, sb * sign)]
    if signs == [-1, -1]:
        signs = [1, 1]
    parts = [on_grid(ctx, one, _cut(objects(units * turn), one), _cut(offset, one), "to the unit of both sides of a sum")
             for one, turn, offset in ((a, signs[0], oa), (b, signs[1] * sign, ob))]
    names = [one.carrier.name() for one in parts if isinstance(one.carrier, Carrier)]
    op: Op = Add() if signs[0] == signs[1] else Sub()
    if signs[0] < signs[1]:
        names = names[::-1]
    made = ctx.emit(op, names, (*a.trail, *b.trail, name), op.kind)
    where = canonical(shape, ctx.channels_first)
    offset = objects(oa + sign * ob)
    return fresh(made, ctx.builder.values[made].shape, where, spread(units, where, channels), spread(offset, where, channels))


def _cut(values: Param, act: Act) -> Param:
    """A vector over the sum's channels for one side, which may have a single channel that is repeated."""
    assert isinstance(act.carrier, Carrier)
    channels = act.carrier.shape[-1]
    if channels == len(values):
        return values
    if any(value != values[0] for value in values):
        raise LoweringError("it repeats one channel along others with different scales; use one scale for all channels")
    return values[:channels]


def _same_rank(ctx: Context, node: OnnxNode) -> tuple[Act, Act]:
    a, b = node.act(0), node.act(1)
    rank = max(len(a.shape), len(b.shape))

    def padded(act: Act) -> Act:
        shape = (1,) * (rank - len(act.shape)) + act.shape
        return act if shape == act.shape else act.moved(lambda values: values.reshape(shape))

    return padded(a), padded(b)


def _joined(a: Act, b: Act) -> Shape:
    try:
        return tuple(int(size) for size in np.broadcast_shapes(a.shape, b.shape))
    except ValueError:
        raise LoweringError(f"shapes {a.shape} and {b.shape} do not broadcast; export the network again") from None


@lowers("Mul")
def _mul(ctx: Context, node: OnnxNode) -> Act:
    """A product of two activations: both without offset, so that integers multiply as the reals do."""
    if not node.joins:
        return mul_const(ctx, node)
    a, b = _same_rank(ctx, node)
    return of_one_integer(ctx, "Mul", a, b, lambda: _multiplied(ctx, node, a, b)) or _multiplied(ctx, node, a, b)


def _multiplied(ctx: Context, node: OnnxNode, a: Act, b: Act) -> Act:
    a, b = (in_own_layout(ctx, zero_based(ctx, one)) for one in (a, b))
    shape = _joined(a, b)
    names = [one.carrier.name() for one in (a, b) if isinstance(one.carrier, Carrier)]
    name = ctx.emit(Mul(), names, (*a.trail, *b.trail, node.name), "Mul")
    return fresh(name, ctx.builder.values[name].shape, canonical(shape, ctx.channels_first), objects(a.scale * b.scale))


@lowers("Concat")
def _concat(ctx: Context, node: OnnxNode) -> Act:
    """Along channels each keeps its own scale; along positions all are brought to one unit per channel."""
    parts = [own_integers(ctx, node.act(i)) for i in range(len(node.inputs))]
    rank, axis = len(parts[0].shape), node.integer("axis", 1)
    axis = axis + rank if axis < 0 else axis
    sizes = {(*part.shape[:axis], *part.shape[axis + 1:]) for part in parts}
    if not 1 <= axis < rank or len(sizes) != 1 or any(len(part.shape) != rank for part in parts):
        raise LoweringError(f"shapes {[part.shape for part in parts]} can't be joined along axis {axis}; export the network again")
    shape = (*parts[0].shape[:axis], sum(part.shape[axis] for part in parts), *parts[0].shape[axis + 1:])
    where = canonical(shape, ctx.channels_first)
    ir_axis = _ir_axes(ctx, rank).index(axis)
    if ir_axis != rank - 2:
        vectors = []
        for i, part in enumerate(parts):
            parts[i], pair = channels_of(ctx, part, part.scale, part.offset)
            vectors.append(pair)
        base = vectors[0][1]
        units = objects([rational_gcd([*(v[0][c] for v in vectors), *(v[1][c] - base[c] for v in vectors)]) or ONE
                         for c in range(len(base))])
        parts = [on_grid(ctx, part, units, base, "to the unit of all parts of a Concat") for part in parts]
    names = [part.carrier.name() for part in parts if isinstance(part.carrier, Carrier)]
    name = ctx.emit(Concat(ir_axis), names, (*(one for part in parts for one in part.trail), node.name), f"Concat of {len(parts)}")
    if ir_axis != rank - 2:
        return fresh(name, ctx.builder.values[name].shape, where, parts[0].scale, parts[0].offset)
    meanings = {(part.scale.item(), part.offset.item()) if part.scale.size == part.offset.size == 1 else None for part in parts}
    if len(meanings) == 1 and None not in meanings:  # all alike, as exporters that share a quantizer write it
        return fresh(name, ctx.builder.values[name].shape, where, filled(parts[0].scale.item(), rank),
                     filled(parts[0].offset.item(), rank))
    found = [channels_of(ctx, part, part.scale, part.offset)[1] for part in parts]
    scale, offset = (objects(np.concatenate([vectors[i] for vectors in found])) for i in (0, 1))
    channels = shape[axis]
    return fresh(name, ctx.builder.values[name].shape, where, spread(scale, where, channels), spread(offset, where, channels))


def _ir_axes(ctx: Context, rank: int) -> list[int]:
    """The ONNX axes of a tensor in the order of the IR's: channels last."""
    channels_first = rank > 3 or (rank == 3 and ctx.channels_first)
    return [*range(2, rank), 1] if channels_first else list(range(1, rank))


@lowers("Pad")
def _pad(ctx: Context, node: OnnxNode) -> Act:
    """Constant padding: the constant must be an integer of the grid, so the grid is refined where it is none."""
    act = node.act()
    rank = len(act.shape)
    const = node.optional(1, "pads")
    pads = const.integers("its pads") if const else node.integers("pads") or node.integers("paddings")
    if node.has(3):
        axes = [axis % rank for axis in node.const(3, "axes").integers("its axes")]
        given, pads = pads or [], [0] * 2 * rank
        for i, axis in enumerate(axes):
            pads[axis], pads[axis + rank] = given[i], given[i + len(axes)]
    if pads is None or len(pads) != 2 * rank or pads[0] or pads[rank]:
        raise LoweringError(f"its pads {pads} do not fit a tensor of shape {act.shape}; only axes behind the batch can be padded")
    if not any(pads):
        return act
    if min(pads) < 0:
        raise LoweringError(f"its pads {pads} are negative, which cuts values off; use Slice")
    if str(node.attribute("mode", "constant")) != "constant":
        raise LoweringError(f"its mode is '{node.attribute('mode')}'; only constant padding is supported")
    value = node.const(2, "value").scalar("its value") if node.has(2) else Fraction(float(node.attribute("value", 0.0)))
    act = own_integers(ctx, act)
    at = filled(value, rank)
    act, (scale, offset, bases) = channels_of(ctx, act, act.scale, act.offset, at)
    integers = {(b - o) / s for b, o, s in zip(bases, offset, scale, strict=True)}
    if len(integers) == 1 and next(iter(integers)).denominator == 1:
        integer = int(next(iter(integers)))
    else:
        act, integer = zero_based(ctx, act, at, "so that an integer stands for the padding's value"), 0
    order = _ir_axes(ctx, rank)
    before, after = tuple(pads[axis] for axis in order), tuple(pads[axis + rank] for axis in order)
    if order[-1] == 1 and (pads[1] or pads[1 + rank]) and (act.scale.size > 1 or act.offset.size > 1):
        raise LoweringError("it pads channels that have different scales; use one scale for all channels")
    assert isinstance(act.carrier, Carrier)
    shape = tuple(size + pads[axis] + pads[axis + rank] for axis, size in enumerate(act.shape))
    where = canonical(shape, ctx.channels_first)  # refuses absurd sizes, so it comes first
    name = ctx.emit(Pad(before, after, integer), [act.carrier.name()], (*act.trail, node.name), f"Pad with {integer}")
    return fresh(name, ctx.builder.values[name].shape, where, act.scale, act.offset)
