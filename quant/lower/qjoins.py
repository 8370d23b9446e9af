"""QLinear operators other than products under a runtime's semantics: sums, multiplications, pools, concatenations, tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from intir import Add, Lookup, ScaleChannels
from intir.types import IntType

from .chain import TABULATED, Function, Half
from .close import close, requantized
from .context import Context
from .errors import LoweringError
from .exact import ONE, ZERO, Ints, filled
from .inputs import canonical
from .layout import in_own_layout
from .node import HANDLERS, OnnxNode
from .qlinear import Operand, Operands, accumulator, real_node, ruled
from .realise import channels_of, integers_of
from .requant import requant_between
from .semantics import Output, Rule, steps_of
from .steps import Steps
from .tensors import Act, Carrier, Const, fresh

#: Bits behind the point of the two sides of a sum, tried from few to many.
FRACTION_BITS = range(2, 25)
MORE_BITS = 6  #: that are worth a Requant instead of thresholds


# one integer


@dataclass(frozen=True, eq=False)
class Entries(Function):
    """A table: the level for each integer from `low` on.  It has no params."""

    low: int = 0
    levels: tuple[int, ...] = ()

    def direction(self, *constants: Any) -> int:
        return TABULATED

    def enclose(self, low: Fraction, high: Fraction, *constants: Any) -> tuple[Fraction, Fraction]:
        level = Fraction(self.levels[int(low) - self.low])
        return level, level


def tabled(ctx: Context, operand: Operand, out: Output, function: Callable[[Ints], Ints]) -> Act:
    """Any function of an 8-bit integer without its zero point, evaluated as the runtime does, clamped to the output."""
    act = integers_of(ctx, operand.act)
    low, high = reach_of(ctx, act)
    levels = np.clip(function(np.arange(low, high + 1) - operand.zero), out.low, out.high)
    return close(ctx, act.then(Entries((), low, tuple(levels.tolist()))), _levels(out, len(act.shape)))


def stepped(ctx: Context, operand: Operand, out: Output, rule: Rule) -> Act:
    """A rising function of an integer without its zero point."""
    centred = operand.centred()
    assert isinstance(centred, Act)
    return close(ctx, centred, steps_of(rule, out, (1,) * len(centred.shape)))


def _levels(out: Output, rank: int) -> Steps:
    bounds = [Half("ge", Fraction(level)) for level in range(out.low + 1, out.high + 1)]
    one, zero = filled(ONE, rank), filled(ZERO, rank)
    return Steps(one, zero, out.low, [bounds], filled(0, rank), one, zero)


def reach_of(ctx: Context, act: Act) -> tuple[int, int]:
    """The least and the greatest integer that an activation of integers can take."""
    assert isinstance(act.carrier, Carrier)
    kind = ctx.range(act.carrier.name()).type
    ends = [scale * n + offset for scale in act.scale.ravel() for offset in act.offset.ravel() for n in (kind.lo, kind.hi)]
    if any(end.denominator != 1 for end in ends) or max(ends) - min(ends) > 2**16:
        raise LoweringError(f"its input takes values from {float(min(ends)):g} to {float(max(ends)):g}, which no 16-bit integer "
                            "holds; quantize its input")
    return int(min(ends)), int(max(ends))


@ruled("QLinearLeakyRelu")
def _leaky(ctx: Context, node: OnnxNode, parts: Operands) -> Act:
    (x,) = parts.inputs
    alpha = np.float32(node.attribute("alpha", 0.01))
    return tabled(ctx, x, parts.output, lambda n: ctx.semantics.leaky(n, x.scale, alpha, parts.output))


@ruled("QLinearSigmoid")
def _sigmoid(ctx: Context, node: OnnxNode, parts: Operands) -> Act:
    (x,) = parts.inputs
    return tabled(ctx, x, parts.output, lambda n: ctx.semantics.sigmoid(n, x.scale, parts.output))


@ruled("QLinearConcat")
def _concat(ctx: Context, node: OnnxNode, parts: Operands) -> Act:
    """Each input is brought to the output's scale by itself."""
    acts = []
    for one in parts.inputs:
        same = one.scale == parts.output.scale and one.zero == parts.output.zero
        acts.append(one.act if same else stepped(ctx, one, parts.output, ctx.semantics.rescale(one.scale, parts.output)))
    if len(acts) == 1:
        return acts[0]
    made = HANDLERS["Concat"](ctx, real_node(node, "Concat", list(acts)))
    assert isinstance(made, Act)
    return made


# sums over positions


@ruled("QLinearGlobalAveragePool", "QLinearReduceMean", "Float32GlobalAveragePool")
def _global_pool(ctx: Context, node: OnnxNode, parts: Operands) -> Act:
    (x,) = parts.inputs
    drop = ("axes", "keepdims", "noop_with_empty_axes")
    shape = x.act.shape
    axes, keep = list(range(2, len(shape))), 1
    if node.op_type == "QLinearReduceMean":
        listed, keep = node.integers("axes"), int(node.flag("keepdims", 1))
        if listed is None or sorted(axis % len(shape) for axis in listed) != axes:
            raise LoweringError(f"it reduces axes {listed} of a tensor of shape {shape}; only all positions of a channel are "
                                "supported")
    centred = x.centred()
    total = HANDLERS["ReduceSum"](ctx, real_node(node, "ReduceSum", [centred], drop, axes=axes, keepdims=keep))
    assert isinstance(total, Act)
    count = prod(shape[2:])
    kind = "global" if node.op_type == "QLinearGlobalAveragePool" else "reduce"
    rule = ctx.semantics.mean(kind, x.scale, count, parts.output, _sums(x, count, ctx), x.zero)
    return close(ctx, total, steps_of(rule, parts.output, (1,) * len(total.shape)))


@ruled("QLinearAveragePool")
def _average_pool(ctx: Context, node: OnnxNode, parts: Operands) -> Act:
    """The sum over a window as an integer; padding counts as 0."""
    (x,) = parts.inputs
    if any(node.integers("pads") or []) and not ctx.semantics.pads_averages:
        raise LoweringError("it averages over padding, which TFLite's average pool leaves out of the count; use no pads")
    mean = HANDLERS["AveragePool"](ctx, real_node(node, "AveragePool", [x.centred()]))
    assert isinstance(mean, Act)
    count = prod(node.integers("kernel_shape") or [1])
    total = mean.linear(filled(Fraction(count), len(mean.shape)), filled(ZERO, len(mean.shape)))
    rule = ctx.semantics.mean("pool", x.scale, count, parts.output, _sums(x, count, ctx), x.zero)
    return close(ctx, total, steps_of(rule, parts.output, (1,) * len(total.shape)))


def _sums(x: Operand, count: int, ctx: Context) -> tuple[int, int]:
    low, high = reach_of(ctx, integers_of(ctx, x.act))
    return min((low - x.zero) * count, 0), max((high - x.zero) * count, 0)


# two tensors


@ruled("QLinearMul")
def _mul(ctx: Context, node: OnnxNode, parts: Operands) -> Act:
    """The product of two integers without zero points is exact; one step function follows."""
    a, b = parts.inputs
    if isinstance(a.integers, Const) or isinstance(b.integers, Const):
        raise LoweringError("it multiplies by a constant tensor; fold the constant into the scale of the layer before it")
    product = accumulator(ctx, node, "Mul", [a.centred(), b.centred()])
    rule = ctx.semantics.multiplied(a.scale, b.scale, parts.output)
    return close(ctx, product, steps_of(rule, parts.output, (1,) * len(product.shape)))


@ruled("QLinearAdd")
def _add(ctx: Context, node: OnnxNode, parts: Operands) -> Act:
    a, b = parts.inputs
    acts = [in_own_layout(ctx, integers_of(ctx, one.act)) for one in (a, b)]
    if acts[0].shape != acts[1].shape:
        raise LoweringError(f"it adds tensors of shapes {acts[0].shape} and {acts[1].shape}; where one is repeated the runtime's "
                            "kernel rounds in another order, so bring both to one shape")
    reach = [np.arange(low, high + 1) for low, high in (reach_of(ctx, act) for act in acts)]
    table, sides = ctx.semantics.added(reach[0] - a.zero, reach[1] - b.zero, (a.scale, a.zero), (b.scale, b.zero), parts.output)
    return summed(ctx, node, acts, reach, sides, np.clip(table, parts.output.low, parts.output.high), parts.output)


def summed(ctx: Context, node: OnnxNode, acts: list[Act], reach: list[Ints], sides: list[list[Fraction]], table: Ints,
           out: Output) -> Act:
    """A function of two integers that rises with the sum of a function of each.

    The sides are rounded to as few bits as keep every pair on its side of every boundary, which is checked on all pairs.

    Parameters
    ----------
    acts : two activations in the IR's own layout, whose values are integers
    reach : two int64 arrays
        The integers that each can take.
    sides : two lists of Fraction
        What each integer adds to the sum, in levels of the output.
    table : int64 (A, B)
        The level of each pair.
    """
    slopes = [(side[-1] - side[0]) / max(len(side) - 1, 1) for side in sides]
    found = None
    for linear in (True, False):
        for bits in FRACTION_BITS if linear else range(FRACTION_BITS[0], 60):
            if linear:
                parts = [round(slope * 2**bits) * one for slope, one in zip(slopes, reach, strict=True)]
            else:
                parts = [np.array([round(value * 2**bits) for value in side], np.int64) for side in sides]
            sums = parts[0][:, None] + parts[1]
            bounds = separated(sums, table, out)
            if bounds is None:
                continue
            candidate = linear, bits, parts, bounds
            found = found or candidate
            kind = IntType(int(sums.min()), int(sums.max()))
            rows = [(np.array(bounds[0]), np.array(bounds[1]), Fraction(1, 2**bits), kind)]
            if requant_between(rows, IntType(out.low, out.high)) is not None:
                found = candidate
                break
            if bits >= found[1] + MORE_BITS:
                break
        if found is not None:
            break
    if found is None:
        raise LoweringError("its sum needs more than 60 bits behind the point; use scales of about the same size")
    linear, bits, parts, (below, above) = found
    names: list[str] = []
    offset = ZERO
    for act, one, part in zip(acts, reach, parts, strict=True):
        side, missing = _side(ctx, node, act, one, part, linear)
        names.append(side)
        offset += missing
    name = ctx.emit(Add(), names, (*acts[0].trail, *acts[1].trail, node.name), "Add")
    where = canonical(acts[0].shape, ctx.channels_first)
    rank = where.ndim
    total = fresh(name, ctx.builder.values[name].shape, where, None, filled(offset, rank))
    # Any boundary between the two sums next to a step will do, which leaves room for a Requant.
    unit = Fraction(1, 2**bits)
    kind = ctx.range(name).type
    shift = int(offset)  # from the IR's sum to that of the parts
    line = requant_between([(np.array(below) - shift, np.array(above) - shift, unit, kind)], IntType(out.low, out.high)) \
        if offset.denominator == 1 else None
    if line is not None:
        name = requantized(ctx, name, *line, (node.name,))
        return fresh(name, ctx.builder.values[name].shape, where)
    steps = Steps(filled(unit, rank), filled(ZERO, rank), out.low, [[Half("ge", unit * one) for one in above]], filled(0, rank),
                  filled(ONE, rank), filled(ZERO, rank))
    return close(ctx, total, steps)


def separated(sums: Ints, table: Ints, out: Output) -> tuple[list[int], list[int]] | None:
    """For each level but the lowest the greatest sum below it and the least at or above it; None if they overlap."""
    count = out.high - out.low + 1
    far = 2**61
    greatest, smallest = np.full(count, -far), np.full(count, far)
    index = (table - out.low).ravel()
    np.maximum.at(greatest, index, sums.ravel())
    np.minimum.at(smallest, index, sums.ravel())
    below = np.maximum.accumulate(greatest)[:-1]
    above = np.minimum.accumulate(smallest[::-1])[::-1][1:]
    return (below.tolist(), above.tolist()) if bool((below < above).all()) else None


def _side(ctx: Context, node: OnnxNode, act: Act, reach: Ints, part: Ints, linear: bool) -> tuple[str, Fraction]:
    """An IR value with one side of a sum, and what is missing from it."""
    assert isinstance(act.carrier, Carrier)
    name, trail = act.carrier.name(), (*act.trail, node.name)
    act, (scale, offset) = channels_of(ctx, act, act.scale, act.offset)
    shared = bool((scale == scale[0]).all() and (offset == offset[0]).all())
    if linear and shared:
        per_level = int(part[1] - part[0]) if len(part) > 1 else 0
        factor = per_level * scale[0]
        if factor.denominator == 1:
            if factor != 1:
                made = ScaleChannels(np.array([int(factor)]), np.zeros(1, np.int64))
                name = ctx.emit(made, [name], trail, "ScaleChannels, one side of a sum")
            return name, per_level * offset[0]
    kind = ctx.range(name).type
    integers = np.arange(kind.lo, kind.hi + 1, kind.step)
    rows = 1 if shared else len(scale)
    table = np.empty((rows, len(integers)), np.int64)
    for c in range(rows):
        values = [int(scale[c] * int(n) + offset[c]) for n in integers]
        table[c] = part[np.clip(np.array(values) - int(reach[0]), 0, len(part) - 1)]
    return ctx.emit(Lookup(table, kind), [name], trail, "Lookup, one side of a sum"), ZERO
