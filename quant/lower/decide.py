"""Decisions at the end of a network: ArgMax, Softmax."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np

from intir import ArgMax, ScaleChannels, TopK
from intir.types import MAX_BITS

from .chain import Normalised
from .context import Context
from .errors import LoweringError
from .exact import ZERO, Param, filled, rational_gcd
from .layout import arranged
from .node import OnnxNode, lowers
from .realise import integers_of
from .tensors import Act, Carrier, Poison, Source, Tensor, fresh, per_channel


@lowers("ArgMax")
def _argmax(ctx: Context, node: OnnxNode) -> Act:
    act = node.act()
    axis = node.integer("axis", 0)
    axis = axis + len(act.shape) if axis < 0 else axis
    if node.flag("select_last_index"):
        raise LoweringError("it selects the last of equal values (select_last_index = 1); the IR decides for the first")
    best = argmax(ctx, act, axis, node.name)
    if node.flag("keepdims", 1):
        return best
    return best.moved(lambda values: values.squeeze(axis))


@lowers("Softmax", "LogSoftmax")
def _softmax(ctx: Context, node: OnnxNode) -> Act:
    """It keeps the order of the channels, so an ArgMax or TopK behind it ignores it; anything else can't follow it."""
    act = node.act()
    rank = len(act.shape)
    axis = node.integer("axis", 1 if node.opset < 13 else -1) % rank
    last = rank if node.opset < 13 else axis + 1  # old versions normalise over all axes from `axis` on
    shape = [1 if axis <= i < last else size for i, size in enumerate(act.shape)]
    return act.then(Normalised((np.arange(math.prod(shape)).astype(object).reshape(shape),)))


@lowers("TopK")
def _topk(ctx: Context, node: OnnxNode) -> list[Tensor]:
    """The indices of the k greatest; their values are not made."""
    act = node.act()
    axis = node.integer("axis", -1) % len(act.shape)
    count = node.const(1, "k").integers("its k") if node.has(1) else [node.integer("k", 1)]
    if not node.flag("largest", 1) or not node.flag("sorted", 1) or len(count) != 1:
        raise LoweringError("it asks for the smallest or unsorted values; only the k largest in order are supported")
    act = comparable(ctx, _without_order_keeping(act, axis), axis)
    assert isinstance(act.carrier, Carrier)
    name = ctx.emit(TopK(count[0]), [act.carrier.name()], (*act.trail, node.name), f"TopK, {count[0]}")
    shape = tuple(count[0] if i == axis else size for i, size in enumerate(act.shape))
    order = [i for i in range(1, len(shape)) if i != axis] + [axis]
    view = np.arange(math.prod(shape), dtype=np.int64).reshape([1, *(shape[i] for i in order)])
    where = np.ascontiguousarray(view.transpose(np.argsort([0, *order])))
    return [Poison(), fresh(name, (*act.carrier.shape[:-1], count[0]), where)]


def argmax(ctx: Context, act: Act, axis: int, name: str) -> Act:
    """The index of the greatest value along an axis, which must be the only one or the channels."""
    act = comparable(ctx, _without_order_keeping(act, axis), axis)
    assert isinstance(act.carrier, Carrier)
    best = ctx.emit(ArgMax(), [act.carrier.name()], (*act.trail, name), "ArgMax")
    shape = tuple(1 if i == axis else size for i, size in enumerate(act.shape))
    where = np.arange(math.prod(shape), dtype=np.int64).reshape([size for i, size in enumerate(shape) if i != axis])
    return fresh(best, (*act.carrier.shape[:-1], 1), np.expand_dims(where, axis))


def comparable(ctx: Context, act: Act, axis: int) -> Act:
    """The activation with `axis` last in the IR, and with one positive scale and one offset for all channels."""
    act = integers_of(ctx, act)
    if not 1 <= axis < len(act.shape):
        raise LoweringError(f"it decides along axis {axis} of a tensor of shape {act.shape}; only channels can be compared")
    order = [i for i in range(1, len(act.shape)) if i != axis] + [axis]
    last = act.moved(lambda values: values.transpose([0, *order]))
    shape = last.shape[1:]
    last = arranged(ctx, last, shape, np.arange(math.prod(shape), dtype=np.int64).reshape(last.shape))
    scale, offset = (per_channel(param, last.where, shape) for param in (last.scale, last.offset))
    if scale is None or offset is None:
        raise LoweringError("the values that it compares have scales that vary inside a channel; use one scale per channel")
    assert isinstance(last.carrier, Carrier)
    name = last.carrier.name()
    if len(scale) > 1 or len(offset) > 1 or scale[0] < 0:
        name = _common(ctx, last, scale, offset)
    back = np.argsort([0, *order])
    view = np.arange(math.prod(shape), dtype=np.int64).reshape(last.shape).transpose(back)
    return replace(fresh(name, shape, np.ascontiguousarray(view)), trail=last.trail)


def _common(ctx: Context, act: Act, scale: Param, offset: Param) -> str:
    """Channels brought to their greatest common unit, so that integers compare as the reals do."""
    assert isinstance(act.carrier, Carrier)
    name = act.carrier.name()
    base = min(Fraction(one) for one in offset)
    unit = rational_gcd([*scale, *(one - base for one in offset)]) or Fraction(1)
    factors, summands = [int(one / unit) for one in scale], [int((one - base) / unit) for one in offset]
    worst = max(abs(one) for one in factors) * max(1, ctx.range(name).magnitude) + max(summands)
    if worst >= 2**MAX_BITS:
        raise LoweringError(f"the channels that it compares have scales and offsets without a small common unit (their integers "
                            f"would "
                            f"need {worst.bit_length()} bits, and the limit is {MAX_BITS}); use one scale for all channels")
    factors, summands = (values if len(set(values)) > 1 else values[:1] for values in (factors, summands))
    return ctx.emit(ScaleChannels(np.array(factors, np.int64), np.array(summands, np.int64)), [name], act.trail,
                    "ScaleChannels, to one unit for all channels")


def _without_order_keeping(act: Act, axis: int) -> Act:
    """Drop functions that are strictly rising and alike along the axis: they change no order there, nor any tie."""
    chain = list(act.chain)
    while chain and chain[-1].strict and all(param.shape[axis] == 1 for param in chain[-1].params) and \
            all(chain[-1].direction(*constants) == 1 for constants in chain[-1].elements()):
        chain.pop()
    act = replace(act, chain=tuple(chain))
    if not chain and not isinstance(act.carrier, Source) and act.offset.shape[axis] == 1:
        act = replace(act, offset=filled(ZERO, len(act.shape)))
    return act
