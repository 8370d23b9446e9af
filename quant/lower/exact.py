"""Exact rationals on numpy arrays.

A `Param` is an object array of `Fraction` that broadcasts against the tensor it belongs to: it has the tensor's rank,
and each axis has the tensor's size or 1.  Scales, offsets and the constants of element-wise functions are params, so
a per-channel scale of a (1, C, H, W) tensor costs C fractions, not C*H*W.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import LoweringError

Param = NDArray[np.object_]
Ints = NDArray[np.int64]
Array = NDArray[Any]

ONE, ZERO = Fraction(1), Fraction(0)


def objects(values: Any, shape: tuple[int, ...] | None = None) -> Param:
    """An object array; numpy turns 0-d object results into bare scalars, this turns them back."""
    array = np.asarray(values, dtype=object)
    return array if shape is None else array.reshape(shape)


def filled(value: Any, rank: int) -> Param:
    """One value for all elements of a tensor of that rank."""
    array = np.empty((1,) * rank, object)
    array[...] = value
    return array


def fractions(values: Array) -> Param:
    """Each element as the exact rational it is.

    Raises
    ------
    LoweringError
        If an element is NaN or infinite.
    """
    if values.dtype == object:
        return values
    if values.dtype.kind not in "iub":
        values = values.astype(np.float64)  # exact for every ONNX float type
        bad = ~np.isfinite(values)
        if bad.any():
            raise LoweringError(f"a constant holds {values[bad].ravel()[0]}; every constant must be a finite number")
    out = np.empty(values.shape, object)
    out.reshape(-1)[:] = [Fraction(value) for value in values.ravel().tolist()]
    return out


def collapse(param: Array) -> Array:
    """Shrink each axis along which nothing changes to size 1."""
    for axis in range(param.ndim):
        if param.shape[axis] > 1:
            first = param.take([0], axis=axis)
            if bool(np.all(param == first)):
                param = first
    return param


def aligned(param: Param, shape: tuple[int, ...]) -> Param:
    """A param with axes of size 1 put in front until it has the rank of `shape`; checked to broadcast into it.

    Raises
    ------
    LoweringError
        If it does not broadcast.
    """
    extra = param.ndim - len(shape)
    if extra > 0 and all(size == 1 for size in param.shape[:extra]):
        param = param.reshape(param.shape[extra:])
    out = param.reshape((1,) * (len(shape) - param.ndim) + param.shape)
    if out.ndim != len(shape) or any(mine not in (1, size) for mine, size in zip(out.shape, shape, strict=True)):
        raise LoweringError(f"a constant of shape {param.shape} does not broadcast to the tensor's shape {shape}; "
                            "give one value, or one per channel")
    return out


def remapped(param: Param, shape: tuple[int, ...], move: Callable[[Array], Array], rank: int) -> Param:
    """The param of a tensor of `shape` after `move` (a reshape, a transpose, a slice, ...) made it one of `rank`."""
    if param.size == 1:
        return param.reshape((1,) * rank)
    # Moving indices instead of fractions keeps the comparisons of `collapse` on machine integers.
    index = np.broadcast_to(np.arange(param.size).reshape(param.shape), shape)
    return param.reshape(-1)[collapse(move(index))]


def rational_gcd(values: Iterable[Fraction]) -> Fraction:
    """The greatest rational of which every value is an integer multiple; 0 if all are 0."""
    values = list(values)
    denominator = math.lcm(*(value.denominator for value in values))
    return Fraction(math.gcd(*(int(value * denominator) for value in values)), denominator)


def ceil_div(numerator: int, denominator: int) -> int:
    """The least integer not below the quotient; `denominator` is positive."""
    return -(-numerator // denominator)


def text(value: Fraction) -> str:
    """A fraction for people: exact if short, else a decimal."""
    exact = str(value)
    return exact if len(exact) <= 12 else f"{float(value):.9g}"
