"""QuantizeLinear and DequantizeLinear: QDQ and QCDQ models, in exact arithmetic.

QuantizeLinear rounds half to even, then adds the zero point, then saturates (QONNX's Quant adds before it rounds): a
rounding and a clip on the chain (`rounding`), so that a Clip behind it (QCDQ: fewer than 8 bits) narrows its range for
free; DequantizeLinear, or any operator that wants integers, closes it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from onnx import helper

from .chain import Clip
from .close import close
from .context import Context
from .errors import LoweringError
from .exact import ONE, ZERO, Param, filled, objects
from .node import OnnxNode, folds, lowers
from .quantizers import scale_of
from .rounding import Rounded, is_rounded, rounded
from .semantics import Output
from .tensors import Act, Const, Shape, Source


def quantized(act: Act, scale: Param, zero: Param, low: int, high: int) -> Act:
    """``saturate(round(x / scale) + zero)``, half to even, as integers from low to high."""
    rank = len(act.shape)
    rounded = act.linear(objects(ONE / scale), filled(ZERO, rank)).then(Rounded((zero,)))
    return rounded.then(Clip((filled(Fraction(low), rank), filled(Fraction(high), rank))))


def _per_axis(node: OnnxNode, shape: Shape) -> tuple[Param, Param, np.dtype[Any] | None]:
    """Scale and zero point aligned to the tensor, and the integer dtype that the zero point names."""
    scale = node.const(1, "scale")
    zero = node.optional(2, "zero point")
    if node.integer("block_size", 0):
        raise LoweringError("it has blocked scales (block_size), which are not supported; use one scale per channel")
    axis = node.integer("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis

    def placed(const: Const) -> Const:
        if const.base.size == 1:
            return const.moved(lambda values: values.reshape((1,) * len(shape)))
        if const.base.ndim != 1 or not 0 <= axis < len(shape) or const.base.size != shape[axis]:
            raise LoweringError(f"its scale or zero point has shape {const.shape}, which does not fit axis {axis} of {shape}")
        return const.moved(lambda values: values.reshape([values.size if i == axis else 1 for i in range(len(shape))]))

    zeros = filled(ZERO, len(shape)) if zero is None else placed(zero).param()
    return scale_of(placed(scale), shape), zeros, None if zero is None else zero.base.dtype


@lowers("QuantizeLinear")
def _quantize(ctx: Context, node: OnnxNode) -> Act:
    act = node.act()
    scale, zero, dtype = _per_axis(node, act.shape)
    low, high = _bounds(node, dtype)
    if not ctx.semantics.is_exact and isinstance(act.carrier, Source):
        if scale.size != 1 or zero.size != 1 or act.chain:
            raise LoweringError("it quantizes the network's input with a scale per channel, or behind other operators; under a "
                                "runtime's semantics the input needs one QuantizeLinear with one scale")
        out = Output(np.float32(scale.item()), int(zero.item()), low, high, low < 0)
        return close(ctx, act, ctx.semantics.input_steps(out, len(act.shape)))
    return quantized(act, scale, zero, low, high)


def _bounds(node: OnnxNode, dtype: np.dtype[Any] | None) -> tuple[int, int]:
    """Of the zero point's type, or of output_dtype; uint8 if neither says anything."""
    named = node.integer("output_dtype", 0)
    kind = dtype if dtype is not None else np.dtype(helper.tensor_dtype_to_np_dtype(named)) if named else np.dtype(np.uint8)
    if kind.metadata and "levels" in kind.metadata:
        low, high = kind.metadata["levels"]
        return int(low), int(high)
    if kind.kind not in "iu" or kind.itemsize > 2:
        raise LoweringError(f"its zero point is of type {kind}; only 8- and 16-bit integers are supported")
    info = np.iinfo(kind)
    return int(info.min), int(info.max)


@folds("QuantizeLinear")
def _quantize_const(node: OnnxNode) -> Const:
    const = node.const(0, "tensor")
    scale, zero, dtype = _per_axis(node, const.shape)
    low, high = _bounds(node, dtype)
    ratio = objects(const.exact() / scale, const.shape)
    rounded = objects([round(Fraction(one)) for one in ratio.ravel()], const.shape)
    return Const.plain(np.clip((rounded + zero).astype(np.int64), low, high))


@lowers("DequantizeLinear")
def _dequantize(ctx: Context, node: OnnxNode) -> Act:
    act = node.act()
    while is_rounded(act):
        act = rounded(ctx, act)
    scale, zero, _ = _per_axis(node, act.shape)
    return act.linear(scale, objects(-zero * scale))


@folds("DequantizeLinear")
def _dequantize_const(node: OnnxNode) -> Const:
    const = node.const(0, "tensor")
    scale, zero, _ = _per_axis(node, const.shape)
    if not const.is_plain or const.base.dtype.kind not in "iu":
        raise LoweringError(f"it dequantizes a constant of type {const.base.dtype}; it must hold integers")
    centred = const.base.astype(np.int64) - zero.astype(np.int64)
    return Const(centred, scale, filled(ZERO, centred.ndim))
