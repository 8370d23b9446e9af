"""Convolutions: Conv and ConvTranspose, 1-D and 2-D, grouped, depthwise, dilated, with any pads.

ONNX pads with real 0.  Where the input has an offset, some integer may stand for 0 (it becomes the pad value); where
none does, the input is brought to a grid that has one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from intir import Conv2d, ConvTranspose2d
from intir.types import IntType

from .context import Context
from .distance import Patches
from .errors import LoweringError
from .exact import Param, objects
from .node import OnnxNode, lowers
from .products import absorbed_offset, biased, by_magnitude, product_of, signed, weighed
from .realise import channels_of, integers_of, zero_based
from .tensors import Act, Carrier, Const, natural
from .windows import Windows, as_image, image_of, spatial_rank, windows


@lowers("Conv")
def _conv(ctx: Context, node: OnnxNode) -> Act:
    act, weights = node.act(), node.const(1, "weights")
    rank, groups = spatial_rank(act), node.integer("group", 1)
    outputs, depth = weights.shape[:2] if len(weights.shape) == rank + 2 else (0, 0)
    if outputs == 0 or groups < 1 or outputs % groups or depth * groups != act.shape[1]:
        raise LoweringError(f"a tensor of shape {act.shape}, weights of shape {weights.shape} and {groups} groups do not fit; "
                            "export the network again")
    geometry = windows(node, act, weights.shape[2:])
    if tuple(weights.shape[2:]) != (geometry.kernel if rank == 2 else geometry.kernel[1:]):
        raise LoweringError(f"its kernel_shape {geometry.kernel} differs from its weights' shape {weights.shape}; export again")
    act = as_image(ctx, integers_of(ctx, act))
    pad_value = 0
    if any(geometry.pads):
        act, pad_value = real_zero(ctx, act)
    taps = math.prod(geometry.kernel)
    matrix = weights.moved(lambda values: np.moveaxis(values.reshape(outputs, depth, taps), (2, 1, 0), (0, 1, 2))
                           .reshape(taps * depth, outputs))
    product = by_magnitude(ctx, node.name, matrix, lambda part: _product(ctx, node.name, act, part, geometry, groups, pad_value))
    product = image_of(product, rank)
    bias = node.optional(2, "bias")
    return product if bias is None else biased(product, bias, 1)


def _product(ctx: Context, name: str, act: Act, matrix: Const, geometry: Windows, groups: int, pad_value: int) -> Act:
    """The convolution of an image with weights (KH * KW * C / groups, N)."""
    taps = math.prod(geometry.kernel)
    depth, outputs = matrix.shape[0] // taps, matrix.shape[1]
    per_group = outputs // groups

    def rows(vector: Param) -> Param:
        if vector.size == 1:
            return vector.reshape(1, 1)
        by_group = np.repeat(vector.reshape(groups, depth), per_group, axis=0).T  # (depth, outputs)
        return objects(np.tile(by_group, (taps, 1)))

    act, integers, units = weighed(ctx, act, matrix, rows)
    act, (offset,) = channels_of(ctx, act, act.offset)
    summand = absorbed_offset(matrix, rows(offset))
    assert isinstance(act.carrier, Carrier)
    carrier, trail = act.carrier, (*act.trail, name)
    kernel = integers.reshape(*geometry.kernel, depth, outputs)

    def conv(mask: NDArray[np.bool_] | None) -> Conv2d:
        return Conv2d(signed(kernel, mask), geometry.stride, geometry.dilation, geometry.pads, pad_value, groups)

    def make(mask: NDArray[np.bool_] | None) -> str:
        return ctx.emit(conv(mask), [carrier.name()], trail, _form("Conv2d", kernel, groups, geometry.pads, pad_value))

    shape = conv(None).shape(carrier.shape)
    product = product_of(shape, make, natural(shape), units, summand)
    if groups == 1 and isinstance(product.carrier, Carrier):
        product.carrier.patches = Patches.of(carrier.name(), kernel, geometry, pad_value)
    return product


def real_zero(ctx: Context, act: Act) -> tuple[Act, int]:
    """The activation, brought to another grid if need be, and the integer that stands for real 0 in all channels."""
    act, (scale, offset) = channels_of(ctx, act, act.scale, act.offset)
    zeros = {-o / s for o, s in zip(offset, scale, strict=True) if s != 0}
    if len(zeros) == 1 and next(iter(zeros)).denominator == 1:
        return act, int(next(iter(zeros)))
    return zero_based(ctx, act, why="so that an integer stands for the padding's 0"), 0


def _form(kind: str, kernel: NDArray[np.int64], groups: int, pads: tuple[int, ...], pad_value: int) -> str:
    rows, columns, depth, outputs = kernel.shape
    padding = f", padded with {pad_value}" if any(pads) and kind == "Conv2d" else ""
    return (f"{kind} {rows} x {columns}, {depth * groups} to {outputs}{f' in {groups} groups' if groups > 1 else ''}, "
            f"weights {IntType.of(kernel)}{padding}")


@lowers("ConvTranspose")
def _conv_transpose(ctx: Context, node: OnnxNode) -> Act:
    act, weights = node.act(), node.const(1, "weights")
    rank, groups = spatial_rank(act), node.integer("group", 1)
    inputs, per_group = weights.shape[:2] if len(weights.shape) == rank + 2 else (0, 0)
    if inputs == 0 or groups < 1 or inputs % groups or inputs != act.shape[1]:
        raise LoweringError(f"a tensor of shape {act.shape}, weights of shape {weights.shape} and {groups} groups do not fit; "
                            "export the network again")
    if node.attribute("output_shape") is not None or str(node.attribute("auto_pad", "NOTSET")) not in ("NOTSET", "VALID"):
        raise LoweringError("it computes its pads from output_shape or auto_pad; export it with explicit pads")
    geometry = windows(node, act, weights.shape[2:])
    extra = node.integers("output_padding") or [0] * rank
    # How many taps meet an output depends on its place, so an offset can't be absorbed: it goes away first.
    act = zero_based(ctx, as_image(ctx, integers_of(ctx, act)), why="so that integer 0 means 0 at the borders")
    depth, taps, outputs = inputs // groups, math.prod(geometry.kernel), per_group * groups

    def order(values: NDArray[np.generic]) -> NDArray[np.generic]:
        split = values.reshape(groups, depth, per_group, taps)
        return split.transpose(3, 1, 0, 2).reshape(taps * depth, outputs)

    matrix: Const = weights.moved(order)

    def rows(vector: Param) -> Param:
        if vector.size == 1:
            return vector.reshape(1, 1)
        return objects(np.tile(np.repeat(vector.reshape(groups, depth), per_group, axis=0).T, (taps, 1)))

    act, integers, units = weighed(ctx, act, matrix, rows)
    assert isinstance(act.carrier, Carrier)
    carrier, trail = act.carrier, (*act.trail, node.name)
    kernel = integers.reshape(*geometry.kernel, depth, outputs)
    more = (0, extra[0]) if rank == 1 else (extra[0], extra[1])

    def conv(mask: NDArray[np.bool_] | None) -> ConvTranspose2d:
        return ConvTranspose2d(signed(kernel, mask), geometry.stride, geometry.dilation, geometry.pads, more, groups)

    def make(mask: NDArray[np.bool_] | None) -> str:
        return ctx.emit(conv(mask), [carrier.name()], trail, _form("ConvTranspose2d", kernel, groups, geometry.pads, 0))

    shape = conv(None).shape(carrier.shape)
    product = image_of(product_of(shape, make, natural(shape), units, objects([units[0] * 0])), rank)
    bias = node.optional(2, "bias")
    return product if bias is None else biased(product, bias, 1)
