"""Pools: MaxPool, AveragePool, GlobalAveragePool and their like."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np

from intir import GlobalSumPool, MaxPool2d, SumPool2d

from .close import negated
from .context import Context
from .conv import real_zero
from .errors import LoweringError
from .exact import ZERO, filled
from .node import OnnxNode, lowers
from .realise import channels_of, integers_of
from .tensors import Act, Carrier, fresh, natural, per_channel
from .windows import as_image, image_of, spatial_rank, windows


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
    if any(geometry.pads) and not node.flag("count_include_pad"):
        raise LoweringError(f"it averages over fewer values at the borders (pads {geometry.pads}, count_include_pad = 0), so its "
                            f"scale "
                            "varies inside a channel; export it with count_include_pad = 1 or without pads")
    if node.flag("ceil_mode") and geometry.pads != windows(_without_ceil(node), act).pads:
        raise LoweringError("its windows reach beyond the input (ceil_mode = 1) and average over fewer values there; use ceil_mode "
                            "= 0")
    act = as_image(ctx, integers_of(ctx, act))
    pad_value = 0
    if any(geometry.pads):
        act, pad_value = real_zero(ctx, act)
    assert isinstance(act.carrier, Carrier)
    op = SumPool2d(geometry.kernel, geometry.stride, geometry.dilation, geometry.pads, pad_value)
    name = ctx.emit(op, [act.carrier.name()], (*act.trail, node.name), f"SumPool2d {geometry.kernel[0]} x {geometry.kernel[1]}")
    shape, count = ctx.builder.values[name].shape, Fraction(1, math.prod(geometry.kernel))
    return image_of(fresh(name, shape, natural(shape), act.scale * count, act.offset), rank)


def _without_ceil(node: OnnxNode) -> OnnxNode:
    proto = type(node.proto)()
    proto.CopyFrom(node.proto)
    kept = [attribute for attribute in proto.attribute if attribute.name != "ceil_mode"]
    del proto.attribute[:]
    proto.attribute.extend(kept)
    return OnnxNode(proto, node.inputs, node.opset)


@lowers("GlobalAveragePool", "ReduceMean", "ReduceSum")
def _global_pool(ctx: Context, node: OnnxNode) -> Act:
    """A mean or a sum over all positions of each channel."""
    act = node.act()
    rank = spatial_rank(act)
    keep = True
    if node.op_type != "GlobalAveragePool":
        listed = node.optional(1, "axes")
        axes = listed.integers("its axes") if listed else node.integers("axes")
        keep = node.flag("keepdims", 1)
        if axes is None or sorted(axis % len(act.shape) for axis in axes) != list(range(2, 2 + rank)):
            raise LoweringError(f"it reduces axes {axes} of a tensor of shape {act.shape}; only all positions of a channel are "
                                f"supported")
    positions = math.prod(act.shape[2:])
    act = as_image(ctx, integers_of(ctx, act))
    act, (scale, offset) = channels_of(ctx, act, act.scale, act.offset)
    assert isinstance(act.carrier, Carrier)
    name = ctx.emit(GlobalSumPool(), [act.carrier.name()], (*act.trail, node.name), f"GlobalSumPool over {positions}")
    channels = act.shape[1]
    where = np.arange(channels, dtype=np.int64).reshape(1, channels, *[1] * rank)
    result = fresh(name, (channels,), where, scale.reshape(where.shape), (offset * positions).reshape(where.shape))
    if node.op_type != "ReduceSum":
        result = result.linear(filled(Fraction(1, positions), where.ndim), filled(ZERO, where.ndim))
    return result if keep else result.moved(lambda values: values.reshape(1, channels))
