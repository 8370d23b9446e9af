"""Operators that move values or make shapes: no arithmetic on activations."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from . import moves
from .moves import Move
from .node import Node, Tensor, computes
from .rational import (
    ExactError,
    Rational,
    add,
    bordered,
    broadcast,
    common,
    moved,
    objects,
    of_array,
    of_fractions,
    stacked,
    units,
    whole,
)


def _mover(*op_types: str) -> Callable[[Callable[[Node], Move]], Callable[[Node], Move]]:
    """Enter a function that gives the move of a node's first input."""
    def enter(rule: Callable[[Node], Move]) -> Callable[[Node], Move]:
        computes(*op_types, orderly=True)(lambda node: moved(node.input(), rule(node)))
        return rule
    return enter


computes("Identity", "Dropout", "DebugMarker", orderly=True)(lambda node: node.input())


@_mover("Reshape")
def _reshape(node: Node) -> Move:
    return moves.reshape(node.input().shape, node.listed(1, "shape") or [], allow_zero=bool(node.attribute("allowzero", 0)))


@_mover("Flatten")
def _flatten(node: Node) -> Move:
    shape = node.input().shape
    axis = node.attribute("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return moves.reshape(shape, [math.prod(shape[:axis]), math.prod(shape[axis:])], allow_zero=True)


@_mover("Transpose")
def _transpose(node: Node) -> Move:
    return moves.transpose(list(node.integers("perm", range(len(node.input().shape))[::-1])))


@_mover("Squeeze")
def _squeeze(node: Node) -> Move:
    shape = node.input().shape
    axes = node.listed(1, "axes")
    gone = [i for i, size in enumerate(shape) if size == 1] if axes is None else [axis % len(shape) for axis in axes]
    return moves.reshape(shape, [size for i, size in enumerate(shape) if i not in gone], allow_zero=True)


@_mover("Unsqueeze")
def _unsqueeze(node: Node) -> Move:
    shape, listed = node.input().shape, node.listed(1, "axes") or []
    rank = len(shape) + len(listed)
    new, sizes = [axis % rank for axis in listed], iter(shape)
    return moves.reshape(shape, [1 if i in new else next(sizes) for i in range(rank)], allow_zero=True)


@_mover("Expand")
def _expand(node: Node) -> Move:
    shape = node.input().shape
    target = np.broadcast_shapes(shape, tuple(node.listed(1, "shape") or ()))
    return lambda values: np.broadcast_to(values.reshape(len(values), *[1] * (len(target) - len(shape)), *shape),
                                          (len(values), *target))


@_mover("Slice")
def _slice(node: Node) -> Move:
    shape = node.input().shape
    starts, ends = node.listed(1, "starts") or [], node.listed(2, "ends") or []
    axes = node.listed(3, "axes")
    steps = node.listed(4, "steps")
    named = list(range(len(starts))) if axes is None else [axis % len(shape) for axis in axes]
    return moves.cut(shape, starts, ends, named, steps or [1] * len(starts))


@_mover("Gather")
def _gather(node: Node) -> Move:
    shape, indices = node.input().shape, node.input(1)
    axis = node.attribute("axis", 0) % len(shape)
    places = indices.numbers().astype(np.int64).reshape(indices.shape)
    return moves.take(axis, np.where(places < 0, places + shape[axis], places))


@_mover("DepthToSpace")
def _depth_to_space(node: Node) -> Move:
    columns_first = node.attribute("mode", "DCR") == "CRD"
    return moves.depth_to_space(node.input().shape, node.attribute("blocksize"), columns_first=columns_first)


@_mover("SpaceToDepth")
def _space_to_depth(node: Node) -> Move:
    return moves.space_to_depth(node.input().shape, node.attribute("blocksize"))


@_mover("Resize", "Upsample")
def _resize(node: Node) -> Move:
    shape, old = node.input().shape, node.op_type == "Upsample" or node.opset < 11
    if node.attribute("mode", "nearest") != "nearest" or node.attribute("axes"):
        raise ExactError("resizes otherwise than to the nearest pixel, or some axes only")
    listed = node.optional(1 if old else 2)
    scales = [Fraction(one) for one in listed.fractions().ravel()] if listed is not None else \
        [Fraction(float(one)) for one in node.attribute("scales", [])]
    sizes = [math.floor(scale * size) for scale, size in zip(scales, shape, strict=False)]
    if not scales:
        sizes = [int(one) for one in node.input(3).numbers()]
        scales = [Fraction(size, before) for size, before in zip(sizes, shape, strict=True)]
    place = "asymmetric" if old else node.attribute("coordinate_transformation_mode", "half_pixel")
    return moves.nearest(shape, scales, sizes, place, "floor" if old else node.attribute("nearest_mode", "round_prefer_floor"))


@computes("Split", orderly=True)
def _split(node: Node) -> list[Tensor]:
    x, count = node.input(), len(node.proto.output)
    axis = node.attribute("axis", 0) % len(x.shape)
    each = math.ceil(x.shape[axis] / count)
    sizes = node.listed(1, "split") or [min(each, x.shape[axis] - i * each) for i in range(count)]
    ends = np.cumsum(sizes).tolist()
    return [moved(x, moves.take(axis, np.arange(end - size, end))) for size, end in zip(sizes, ends, strict=True)]


@computes("Concat", orderly=True)
def _concat(node: Node) -> Rational:
    parts = [node.input(i) for i in range(len(node.inputs))]
    return stacked(parts, node.attribute("axis", 0) % len(parts[0].shape) + 1)


@computes("Pad", orderly=True)
def _pad(node: Node) -> Rational:
    """With a constant: zeros around the tensor, plus the constant where they are."""
    x, rank = node.input(), len(node.input().shape)
    if node.attribute("mode", "constant") != "constant":
        raise ExactError(f"pads with mode '{node.attribute('mode')}', of which only 'constant' is supported")
    given = node.listed(1, "pads") or list(node.attribute("paddings", []))
    axes = [axis % rank for axis in node.listed(3, "axes") or range(rank)]
    pads = [0] * 2 * rank
    for i, axis in enumerate(axes):
        pads[axis], pads[axis + rank] = given[i], given[i + len(axes)]
    if min(pads, default=0) < 0:
        raise ExactError("has negative pads, which are not supported")
    widths = [(0, 0), *((pads[i], pads[i + rank]) for i in range(rank))]
    unit = np.pad(x.unit, [width if size > 1 else (0, 0) for width, size in zip(widths, x.unit.shape, strict=True)], mode="edge")
    made = Rational(bordered(x.integers, widths), unit, x.kind)
    value = node.input(2).fractions().ravel()[0] if node.has(2) else node.number("value", 0.0)
    if value == 0:
        return made
    border = np.pad(np.zeros((1, *x.shape), np.int64), widths, constant_values=1)
    return add(made, whole(border, unit=abs(value)), 1 if value > 0 else -1)


@computes("Shape")
def _shape(node: Node) -> Rational:
    shape = node.input().shape[node.attribute("start", 0):node.attribute("end", None)]
    return whole(np.array([shape], np.int64), "int64")


@computes("Size")
def _size(node: Node) -> Rational:
    return whole(np.array([math.prod(node.input().shape)]), "int64")


@computes("Constant")
def _constant(node: Node) -> Rational:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        value = node.attribute(name)
        if isinstance(value, Rational):
            return value
        if value is not None:
            is_float = "float" in name
            return of_array(np.asarray(value, np.float32 if is_float else np.int64)[None], "float" if is_float else "int64")
    raise ExactError("has no number as value")


@computes("ConstantOfShape")
def _constant_of_shape(node: Node) -> Rational:
    value = node.attribute("value")
    shape = [1, *(int(one) for one in node.input().numbers())]
    if value is None:
        return whole(np.zeros(shape, np.int64))
    return Rational(np.broadcast_to(value.integers.ravel()[0], shape), units(value.unit.ravel()[0], len(shape)), value.kind)


@computes("Range")
def _range(node: Node) -> Rational:
    start, stop, step = (Fraction(node.input(i).fractions().item()) for i in range(3))
    values = [start + i * step for i in range(max(0, math.ceil((stop - start) / step)))]
    return of_fractions(objects([values]), node.input().kind)


_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "Equal": operator.eq, "Greater": operator.gt, "Less": operator.lt, "GreaterOrEqual": operator.ge, "LessOrEqual": operator.le,
    "And": operator.and_, "Or": operator.or_}


@computes(*_COMPARISONS)
def _compare(node: Node) -> Rational:
    x, y, _ = common(node.input(), node.input(1))
    return whole(np.asarray(_COMPARISONS[node.op_type](x, y)).astype(np.int64), "bool")


@computes("Not")
def _not(node: Node) -> Rational:
    return whole((node.input().integers == 0).astype(np.int64), "bool")


@computes("Where")
def _where(node: Node) -> Rational:
    condition, a, b = (node.input(i) for i in range(3))
    x, y, unit = common(a, b)
    mask, values = broadcast(condition, Rational(x, unit))
    others = broadcast(condition, Rational(y, unit))[1].integers
    return Rational(np.where(mask.integers != 0, values.integers, others), values.unit, a.kind)
