"""Pools: MaxPool, AveragePool, GlobalAveragePool and their like."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np

from intir import MaxPool2d, SumPool2d

from .close import negated
from .context import Context
from .conv import real_zero
from .errors import LoweringError
from .exact import Param, collapse, objects
from .node import OnnxNode, lowers
from .realise import channels_of, integers_of
from .tensors import Act, Carrier, Shape, fresh, natural, per_channel
from .windows import Windows, as_image, image_of, spatial_rank, windows


@lowers("MaxPool")
def _max_pool(ctx: Context, node: OnnxNode) -> Act:
    """Per channel the maximum commutes with a rising chain, so the chain stays open for the quantizer behind."""
    act = node.act()
    geometry, rank = windows(node, act), spatial_rank(act)
    if node.flag("storage_order"):
        raise LoweringError("its storage_order is 1 (column major), which is not supported; export it with 0")
    if isinstance(act.carrier, Carrier) and not act.carrier.exists and act.carrier.can_negate:
        signs = per_channel(act.scale, act.where, act.carrier.shape)  # a product can negate falling channels for free
        if signs is not None:
            act.carrier.name(np.broadcast_to(np.array([one < 0 for one in signs]), act.carrier.shape[-1:]))
    act = ctx.settled(act)
    spatial = any(size != 1 for one in (act.scale, act.offset, *(p for f in act.chain for p in f.params)) for size in one.shape[2:])
    falls = [function.direction(*constants) for function in act.chain for constants in function.elements()]
    if spatial or any(direction not in (0, 1) for direction in falls):
        act = integers_of(ctx, act)
    act = as_image(ctx, act)
    act, (scale,) = channels_of(ctx, act, act.scale)
    falling = np.array([one < 0 for one in scale])
    if falling.any():
        act = negated(ctx, act, falling)
    assert isinstance(act.carrier, Carrier)
    op = MaxPool2d(geometry.kernel, geometry.stride, geometry.dilation, geometry.pads)
    name = ctx.emit(op, [act.carrier.name()], (*act.trail, node.name), f"MaxPool2d {geometry.kernel[0]} x {geometry.kernel[1]}")
    shape = ctx.builder.values[name].shape
    return image_of(replace(act, carrier=Carrier.made(name, shape), where=natural(shape), trail=()), rank)


@lowers("AveragePool")
def _average_pool(ctx: Context, node: OnnxNode) -> Act:
    act = node.act()
    geometry, rank = windows(node, act), spatial_rank(act)
    sizes = (*[1] * (2 - rank), *act.shape[2:])
    declared = windows(_without_ceil(node), act).pads
    if node.flag("count_include_pad"):  # what ceil_mode adds behind the declared pads is never counted
        counts = _counts(geometry, sizes, declared)
    else:
        counts = _counts(geometry, sizes, (0, 0, 0, 0))
    act = as_image(ctx, integers_of(ctx, act))
    pad_value = 0
    if any(geometry.pads):
        act, pad_value = real_zero(ctx, act)
    assert isinstance(act.carrier, Carrier)
    op = SumPool2d(geometry.kernel, geometry.stride, geometry.dilation, geometry.pads, pad_value)
    name = ctx.emit(op, [act.carrier.name()], (*act.trail, node.name), f"SumPool2d {geometry.kernel[0]} x {geometry.kernel[1]}")
    shape = ctx.builder.values[name].shape
    return image_of(fresh(name, shape, natural(shape), objects(act.scale / counts),
                          objects(act.offset * math.prod(geometry.kernel) / counts)), rank)


def _counts(geometry: Windows, sizes: Shape, counted: Shape) -> Param:
    """By how many values each position's sum is divided: (1, 1, H', W'), or one number.

    Parameters
    ----------
    sizes : (H, W)
    counted : (top, left, bottom, right)
        Pads that count as values.
    """
    lines = []
    for i, (size, k, s, d) in enumerate(zip(sizes, geometry.kernel, geometry.stride, geometry.dilation, strict=True)):
        before, after = geometry.pads[i], geometry.pads[i + 2]
        starts = np.arange((size + before + after - d * (k - 1) - 1) // s + 1) * s - before
        taps = starts[:, None] + d * np.arange(k)
        lines.append(((taps >= -counted[i]) & (taps < size + counted[i + 2])).sum(axis=1))
    counts = np.multiply.outer(*lines)
    if not counts.all():
        raise LoweringError("it has windows that lie in the padding altogether; use smaller pads")
    return objects([Fraction(int(one)) for one in collapse(counts).ravel()], (1, 1, *collapse(counts).shape))


def _without_ceil(node: OnnxNode) -> OnnxNode:
    proto = type(node.proto)()
    proto.CopyFrom(node.proto)
    kept = [attribute for attribute in proto.attribute if attribute.name != "ceil_mode"]
    del proto.attribute[:]
    proto.attribute.extend(kept)
    return OnnxNode(proto, node.inputs, node.opset)
