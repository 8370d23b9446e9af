"""Operators that move values, and what they need: indices and shapes in whole numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from .rational import Array, ExactError, Shape

Move = Callable[[Array], Array]  #: on arrays (S, *shape)


def reshape(shape: Shape, target: list[int], *, allow_zero: bool) -> Move:
    """To `target`, where 0 keeps a size and -1 takes what is left."""
    sizes = [shape[i] if size == 0 and not allow_zero else size for i, size in enumerate(target)]
    if -1 in sizes:
        sizes[sizes.index(-1)] = math.prod(shape) // max(1, math.prod(size for size in sizes if size != -1))
    if math.prod(sizes) != math.prod(shape):
        raise ExactError(f"can't make {target} of {shape}")
    return lambda values: values.reshape(len(values), *sizes)


def transpose(order: list[int]) -> Move:
    """ONNX axes in another order."""
    return lambda values: values.transpose(0, *(axis + 1 for axis in order))


def take(axis: int, indices: Array) -> Move:
    """Along an ONNX axis, indices of any shape."""
    return lambda values: np.asarray(values.take(indices, axis=axis + 1))


def cut(shape: Shape, starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> Move:
    """ONNX Slice: for each axis the indices that it names."""
    lines = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = shape[axis]
        first = start + size if start < 0 else start
        last = end + size if end < 0 else end
        if step > 0:
            lines[axis] = np.arange(min(max(first, 0), size), min(max(last, 0), size), step)
        else:
            lines[axis] = np.arange(min(max(first, 0), size - 1), min(max(last, -1), size - 1) if end >= -size else -1, step)

    def move(values: Array) -> Array:
        for axis, line in lines.items():
            values = values.take(line, axis=axis + 1)
        return values
    return move


def depth_to_space(shape: Shape, block: int, *, columns_first: bool) -> Move:
    """(N, C, H, W) to (N, C / block^2, H * block, W * block)."""
    n, c, h, w = shape
    out = c // block**2
    if columns_first:  # CRD
        return lambda v: v.reshape(-1, n, out, block, block, h, w).transpose(0, 1, 2, 5, 3, 6, 4).reshape(
            -1, n, out, h * block, w * block)
    return lambda v: v.reshape(-1, n, block, block, out, h, w).transpose(0, 1, 4, 5, 2, 6, 3).reshape(
        -1, n, out, h * block, w * block)


def space_to_depth(shape: Shape, block: int) -> Move:
    """(N, C, H, W) to (N, C * block^2, H / block, W / block)."""
    n, c, h, w = shape
    return lambda v: v.reshape(-1, n, c, h // block, block, w // block, block).transpose(0, 1, 4, 6, 2, 3, 5).reshape(
        -1, n, c * block**2, h // block, w // block)


def nearest(shape: Shape, scales: list[Fraction], sizes: list[int], place: str, mode: str) -> Move:
    """ONNX Resize with mode nearest: for each output position the input position that is nearest to where it falls."""
    half = Fraction(1, 2)

    def position(i: int, scale: Fraction, size: int, out: int) -> Fraction:
        if place == "asymmetric":
            return i / scale
        if place == "align_corners":
            return Fraction(i * (size - 1), out - 1) if out > 1 else Fraction(0)
        if place == "half_pixel" or (place == "pytorch_half_pixel" and out > 1):
            return (i + half) / scale - half
        if place == "pytorch_half_pixel":
            return Fraction(0)
        raise ExactError(f"has coordinate_transformation_mode '{place}', which is not supported")

    roundings: dict[str, Callable[[Fraction], int]] = {
        "floor": math.floor, "ceil": math.ceil,
        "round_prefer_floor": lambda x: math.floor(x) + (x - math.floor(x) > half),
        "round_prefer_ceil": lambda x: math.floor(x) + (x - math.floor(x) >= half)}
    if mode not in roundings:
        raise ExactError(f"has nearest_mode '{mode}', which is not supported")
    lines = [np.array([min(max(roundings[mode](position(i, scale, size, out)), 0), size - 1) for i in range(out)])
             for scale, size, out in zip(scales, shape, sizes, strict=True)]

    def move(values: Array) -> Array:
        for axis, line in enumerate(lines):
            values = values.take(line, axis=axis + 1)
        return values
    return move
