"""Sums and means over axes: GlobalAveragePool, ReduceSum, ReduceMean; and sums of distances (AdderNet)."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from intir import GlobalSumPool, SumPool2d

from .context import Context
from .distance import distance
from .errors import LoweringError
from .exact import ZERO, filled, objects
from .node import OnnxNode, lowers
from .products import dense
from .realise import channels_of, integers_of
from .tensors import Act, Carrier, Const, fresh, natural
from .windows import as_image


@lowers("GlobalAveragePool", "ReduceMean", "ReduceSum")
def _reduce(ctx: Context, node: OnnxNode) -> Act:
    act = node.act()
    rank = len(act.shape)
    if node.op_type == "GlobalAveragePool":
        axes, keep = list(range(2, rank)), True
    else:
        listed = node.optional(1, "axes")
        given = listed.integers("its axes") if listed else node.integers("axes")
        axes, keep = sorted({axis % rank for axis in given or range(1, rank)}), node.flag("keepdims", 1)
    if not axes or axes[0] == 0:
        raise LoweringError(f"it reduces axes {axes} of a tensor of shape {act.shape}; the batch axis can't be reduced")
    total = distance(ctx, node, act, axes)
    if total is None:
        places = [axis for axis in axes if axis > 1] if rank == 4 or (rank == 3 and ctx.channels_first) else []
        total = _positions(ctx, node, act, places) if places else act
        if rest := [axis for axis in axes if axis not in places]:
            total = _product(ctx, node, total, rest)
    if node.op_type != "ReduceSum":
        count = math.prod(act.shape[axis] for axis in axes)
        total = total.linear(filled(Fraction(1, count), rank), filled(ZERO, rank))
    return total if keep else total.moved(lambda values: values.squeeze(tuple(axes)))


def _positions(ctx: Context, node: OnnxNode, act: Act, axes: list[int]) -> Act:
    """The sum over rows, columns or both of each channel."""
    rank = len(act.shape)
    positions = math.prod(act.shape[axis] for axis in axes)
    act = as_image(ctx, integers_of(ctx, act))
    act, (scale, offset) = channels_of(ctx, act, act.scale, act.offset)
    assert isinstance(act.carrier, Carrier)
    if len(axes) < rank - 2:
        kernel = (act.shape[2], 1) if axes == [2] else (1, act.shape[3])
        name = ctx.emit(SumPool2d(kernel, (1, 1)), [act.carrier.name()], (*act.trail, node.name),
                        f"SumPool2d {kernel[0]} x {kernel[1]}")
        shape = ctx.builder.values[name].shape
        return fresh(name, shape, natural(shape), act.scale, objects(act.offset * positions))
    name = ctx.emit(GlobalSumPool(), [act.carrier.name()], (*act.trail, node.name), f"GlobalSumPool over {positions}")
    channels = act.shape[1]
    where = np.arange(channels, dtype=np.int64).reshape(1, channels, *[1] * (rank - 2))
    return fresh(name, (channels,), where, scale.reshape(where.shape), (offset * positions).reshape(where.shape))


def _product(ctx: Context, node: OnnxNode, act: Act, axes: list[int]) -> Act:
    """Any other sum: a product with ones."""
    kept = [axis for axis in range(len(act.shape)) if axis not in axes]
    sizes, depth = [act.shape[axis] for axis in kept], math.prod(act.shape[axis] for axis in axes)
    rows = act.moved(lambda values: values.transpose([*kept, *axes]).reshape([*sizes, depth]))
    total = dense(ctx, node, rows, Const.plain(np.ones((depth, 1), np.int64)))
    shape = [1 if axis in axes else size for axis, size in enumerate(act.shape)]
    return total.moved(lambda values: values.reshape(shape))
