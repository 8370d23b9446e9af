"""Image operators that only move values: DepthToSpace, SpaceToDepth, Resize and Upsample (nearest), Split."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from .context import Context
from .errors import LoweringError
from .exact import Array
from .load import MAX_ACTIVATION
from .moves import moves
from .node import OnnxNode, folds, lowers
from .tensors import Act, Const, Move, Shape


def _blocks(node: OnnxNode, shape: Shape) -> int:
    block = node.integer("blocksize", 1)
    if len(shape) != 4 or block < 1:
        raise LoweringError(f"its tensor has shape {shape} and its blocksize is {block}; it needs (1, C, H, W) and 1 or more")
    return block


@moves("DepthToSpace")
def _depth_to_space(node: OnnxNode, shape: Shape) -> Move:
    b, (n, c, h, w) = _blocks(node, shape), shape
    if c % (b * b):
        raise LoweringError(f"its {c} channels do not split into blocks of {b} x {b}; export the network again")
    if str(node.attribute("mode", "DCR")) == "CRD":
        return lambda v: v.reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // b**2, h * b, w * b)
    return lambda v: v.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


@moves("SpaceToDepth")
def _space_to_depth(node: OnnxNode, shape: Shape) -> Move:
    b, (n, c, h, w) = _blocks(node, shape), shape
    if h % b or w % b:
        raise LoweringError(f"its {h} x {w} positions do not split into blocks of {b} x {b}; export the network again")
    return lambda v: v.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)


@moves("Resize", "Upsample")
def _resize(node: OnnxNode, shape: Shape) -> Move:
    """Nearest neighbour: along each axis an index for every output position, computed in fractions."""
    if str(node.attribute("mode", "nearest")) != "nearest":
        raise LoweringError(f"its mode is '{node.attribute('mode')}', which makes new values; only nearest is supported")
    scales, sizes = _scales(node, shape)
    if math.prod(sizes) > MAX_ACTIVATION:
        raise LoweringError(f"it makes a tensor of shape {sizes}, beyond the limit of {MAX_ACTIVATION} elements")
    # The deprecated Upsample and Resize of opset 10 know no modes: they floor asymmetric coordinates.
    old = node.op_type == "Upsample" or node.opset < 11
    place = "asymmetric" if old else str(node.attribute("coordinate_transformation_mode", "half_pixel"))
    nearest = "floor" if old else str(node.attribute("nearest_mode", "round_prefer_floor"))
    if place not in _PLACES or nearest not in _NEAREST:
        raise LoweringError(f"its modes '{place}' and '{nearest}' are not supported; use {', '.join(_PLACES)} and "
                            f"{', '.join(_NEAREST)}")
    lines = [np.array([min(max(_NEAREST[nearest](_PLACES[place](Fraction(i), scale, size, out)), 0), size - 1) for i in range(out)],
                      np.int64) for scale, size, out in zip(scales, shape, sizes, strict=True)]

    def move(values: Array) -> Array:
        for axis, line in enumerate(lines):
            values = values.take(line, axis=axis)
        return values

    return move


_PLACES: dict[str, Callable[[Fraction, Fraction, int, int], Fraction]] = {
    "asymmetric": lambda i, scale, size, out: i / scale,
    "half_pixel": lambda i, scale, size, out: (i + Fraction(1, 2)) / scale - Fraction(1, 2),
    "pytorch_half_pixel": lambda i, scale, size, out: (i + Fraction(1, 2)) / scale - Fraction(1, 2) if out > 1 else Fraction(0),
    "align_corners": lambda i, scale, size, out: i * Fraction(size - 1, out - 1) if out > 1 else Fraction(0),
}
_NEAREST: dict[str, Callable[[Fraction], int]] = {
    "floor": math.floor, "ceil": math.ceil, "round_prefer_floor": lambda x: math.ceil(x - Fraction(1, 2)),
    "round_prefer_ceil": lambda x: math.floor(x + Fraction(1, 2)),
}


def _scales(node: OnnxNode, shape: Shape) -> tuple[list[Fraction], list[int]]:
    position = 1 if node.op_type == "Upsample" or node.opset < 11 else 2
    listed = node.optional(position, "scales")
    scales = [Fraction(value) for value in listed.exact().ravel()] if listed else []
    if not scales and node.attribute("scales") is not None:
        scales = [Fraction(float(value)) for value in node.attribute("scales")]
    if not scales and node.has(3):
        sizes = node.const(3, "sizes").integers("its sizes")
        if len(sizes) == len(shape) and min(sizes) > 0:
            return [Fraction(size, before) for size, before in zip(sizes, shape, strict=True)], sizes
    if len(scales) != len(shape) or min(scales) <= 0 or node.attribute("axes") is not None:
        raise LoweringError(f"its scales or sizes do not fit a tensor of shape {shape}; give one positive number per axis")
    return scales, [math.floor(scale * size) for scale, size in zip(scales, shape, strict=True)]


def _split(node: OnnxNode, shape: Shape) -> list[Move]:
    axis = node.integer("axis", 0) % len(shape)
    listed = node.optional(1, "sizes")
    parts = listed.integers("its sizes") if listed else node.integers("split")
    if parts is None:
        each = -(-shape[axis] // node.outputs)
        parts = [min(each, shape[axis] - i * each) for i in range(node.outputs)]
    if sum(parts) != shape[axis] or min(parts) < 1 or len(parts) != node.outputs:
        raise LoweringError(f"its parts {parts} do not add up to axis {axis} of a tensor of shape {shape}; export the network "
                            f"again")
    ends = np.cumsum(parts).tolist()
    return [_part(axis, end - size, end) for size, end in zip(parts, ends, strict=True)]


def _part(axis: int, start: int, stop: int) -> Move:
    return lambda values: values.take(np.arange(start, stop), axis=axis)


@lowers("Split")
def _split_act(ctx: Context, node: OnnxNode) -> Sequence[Act]:
    return [node.act().moved(move) for move in _split(node, node.act().shape)]


@folds("Split")
def _split_const(node: OnnxNode) -> Sequence[Const]:
    const = node.const(0, "tensor")
    return [const.moved(move) for move in _split(node, const.shape)]
