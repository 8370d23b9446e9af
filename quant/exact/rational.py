"""Tensors of rational numbers: integers, and a rational unit for all of them or for each channel.

Axis 0 of every array counts samples and is not part of the ONNX shape, so a graph for a batch of 1 runs on many samples at
once.  Integers are int64 where they fit and Python's own otherwise; nothing is ever rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intir.errors import BitwrightError

Array = NDArray[Any]
Units = NDArray[np.object_]
Shape = tuple[int, ...]

LIMIT = 2**62  #: int64 arrays stay below it, so that one addition can't overflow


class ExactError(BitwrightError):
    """A graph can't be computed exactly; the sentence names the node and the reason."""


@dataclass(frozen=True, eq=False)
class Rational:
    """``integers * unit``, element by element.

    Parameters
    ----------
    integers : int64 or object array (S, *shape)
        S samples, or 1 for a constant.
    unit : object array of positive Fraction
        Of the same rank; each axis has the size of the integers' axis, or 1.
    kind : str
        ONNX element type, for what depends on it: 'float', 'bool', 'int64', 'uint8', 'int4', ...
    """

    integers: Array
    unit: Units
    kind: str = "float"

    @property
    def shape(self) -> Shape:
        """The ONNX shape."""
        return self.integers.shape[1:]

    @property
    def whole(self) -> bool:
        """True if its ONNX type is an integer type."""
        return self.kind not in ("float", "bool")

    def fractions(self) -> Units:
        """Every element as a Fraction, shape (S, *shape)."""
        return objects(self.integers.astype(object) * self.unit)

    def numbers(self) -> Array:
        """The elements of a constant as Python ints, flat.  Raises ExactError if one is none."""
        values = [Fraction(one) for one in self.fractions().ravel()]
        if any(one.denominator != 1 for one in values):
            raise ExactError(f"needs whole numbers, but has {float(values[0])}")
        return np.array([int(one) for one in values], object)


def objects(values: Any) -> Units:
    """An object array, also of a scalar."""
    return np.asarray(values, object)


def units(value: Fraction, rank: int) -> Units:
    """One unit for all elements of a tensor of that rank (samples included)."""
    made = np.empty((1,) * rank, object)
    made[...] = value
    return made


def whole(integers: Any, kind: str = "float", unit: Fraction = Fraction(1)) -> Rational:
    """Integers (S, *shape) times one unit."""
    array = compact(np.asarray(integers))
    return Rational(array, units(unit, array.ndim), kind)


def of_array(values: Array, kind: str = "float") -> Rational:
    """Each number of an array (S, *shape) as the rational that it is.

    Raises
    ------
    ExactError
        If one is NaN or infinite.
    """
    if values.dtype.kind in "iub":
        return whole(values.astype(object) if values.dtype == np.uint64 else values.astype(np.int64), kind)
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ExactError(f"holds {values[~np.isfinite(values)].ravel()[0]}, which is no number")
    fraction, exponent = np.frexp(values)
    odd = np.ldexp(fraction, 53).astype(np.int64)
    zeros = np.where(odd == 0, 0, np.frexp((odd & -odd).astype(np.float64))[1] - 1)  # trailing ones: float32 has 29 of them
    exponent = exponent - 53 + zeros
    odd = odd >> zeros
    least = int(exponent[odd != 0].min(initial=2000))
    shift = np.where(odd == 0, 0, exponent - least)
    if int((53 - zeros + shift).max(initial=0)) < 62:
        integers: Array = odd << shift
    else:
        integers = objects(odd.astype(object) << shift.astype(object))
    return Rational(integers, units(Fraction(2) ** least if (odd != 0).any() else Fraction(1), values.ndim), kind)


def of_fractions(values: Units, kind: str = "float") -> Rational:
    """Fractions (S, *shape) in their greatest common unit."""
    unit = reduce(gcd, set(values.ravel().tolist()), Fraction(0)) or Fraction(1)
    return whole(each(lambda one: int(one / unit), values), kind, unit)


def magnitude(integers: Array) -> int:
    """The greatest absolute value; 0 of an empty array."""
    return max(int(integers.max()), -int(integers.min())) if integers.size else 0


def compact(integers: Array) -> Array:
    """As int64 where every element fits."""
    if integers.dtype == object:
        return integers.astype(np.int64) if magnitude(integers) < LIMIT else integers
    return integers.astype(np.int64, copy=False)


def times(integers: Array, factors: Array) -> Array:
    """The exact product of two integer arrays that broadcast."""
    if factors.size == 1 and factors.ravel()[0] == 1:
        return integers
    if max(1, magnitude(integers)) * max(1, magnitude(factors)) < LIMIT:
        return np.asarray(integers.astype(np.int64) * factors.astype(np.int64))
    return objects(integers.astype(object) * factors.astype(object))


def plus(a: Array, b: Array) -> Array:
    """The exact sum of two integer arrays that broadcast."""
    if magnitude(a) + magnitude(b) < LIMIT:
        return np.asarray(a.astype(np.int64) + b.astype(np.int64))
    return compact(objects(a.astype(object) + b.astype(object)))


def each(function: Callable[..., Any], *arrays: Units) -> Units:
    """A function of fractions on object arrays that broadcast, computed once for each distinct set of arguments."""
    spread = np.broadcast_arrays(*arrays)
    known: dict[Any, Any] = {}
    out = np.empty(spread[0].shape, object)
    flat = out.reshape(-1)
    for i, arguments in enumerate(zip(*(one.ravel().tolist() for one in spread), strict=True)):
        if arguments not in known:
            known[arguments] = function(*arguments)
        flat[i] = known[arguments]
    return out


def gcd(a: Fraction, b: Fraction) -> Fraction:
    """The greatest rational of which both are integer multiples; b where a is 0."""
    common = math.lcm(a.denominator, b.denominator)
    return Fraction(math.gcd(int(a * common), int(b * common)), common)


def broadcast(a: Rational, b: Rational) -> tuple[Rational, Rational]:
    """Both with the same rank: ONNX lines shapes up at their ends, behind the samples."""
    rank = max(a.integers.ndim, b.integers.ndim)

    def ranked(array: Array) -> Array:
        return array.reshape(array.shape[0], *[1] * (rank - array.ndim), *array.shape[1:])

    return (Rational(ranked(a.integers), ranked(a.unit), a.kind), Rational(ranked(b.integers), ranked(b.unit), b.kind))


def refined(t: Rational, unit: Units) -> Array:
    """Its integers in a unit of which its own is a multiple."""
    return times(t.integers, each(lambda own, new: (own / new).numerator, t.unit, unit))


def common(a: Rational, b: Rational) -> tuple[Array, Array, Units]:
    """The integers of both in their greatest common unit, and that unit."""
    a, b = broadcast(a, b)
    unit = each(gcd, a.unit, b.unit)
    return refined(a, unit), refined(b, unit), unit


def uniform(t: Rational, axes: tuple[int, ...]) -> Rational:
    """With a unit that is the same along some axes of the array."""
    unit = t.unit
    for axis in axes:
        if unit.shape[axis] > 1:
            parts = [unit.take([i], axis) for i in range(unit.shape[axis])]
            merged = parts[0]
            for part in parts[1:]:
                merged = each(gcd, merged, part)
            unit = merged
    return t if unit is t.unit else Rational(refined(t, unit), unit, t.kind)


def add(a: Rational, b: Rational, sign: int = 1) -> Rational:
    """``a + sign * b``."""
    if b.integers.size <= a.integers.size and not b.integers.any() and np.broadcast_shapes(a.shape, b.shape) == a.shape:
        return a  # a zero point of 0
    x, y, unit = common(a, b)
    return Rational(plus(x, y * sign), unit, a.kind)


def multiply(a: Rational, b: Rational) -> Rational:
    """``a * b``; a smaller constant goes into the unit of the other factor."""
    if a.integers.size < b.integers.size:
        a, b = b, a
    if b.integers.size < a.integers.size and len(b.integers) == 1:
        return scaled(a, b.fractions())
    a, b = broadcast(a, b)
    return Rational(times(a.integers, b.integers), each(lambda x, y: x * y, a.unit, b.unit), a.kind)


def scaled(t: Rational, factors: Units) -> Rational:
    """Times an object array of fractions, which goes into the unit."""
    t, other = broadcast(t, Rational(np.zeros(factors.shape, np.int64), factors))
    factors = other.unit
    signs = each(lambda one: (one > 0) - (one < 0), factors)
    unit = each(lambda own, one: own * abs(one) if one else own, t.unit, factors)
    return Rational(times(t.integers, signs), unit, t.kind)


def divide(a: Rational, b: Rational) -> Rational:
    """``a / b``.  Raises ExactError if an element of b is 0."""
    if (b.integers == 0).any():
        raise ExactError("divides by 0")
    return scaled(a, each(lambda one: 1 / Fraction(one), b.fractions()))


def equal(a: Rational, b: Rational) -> NDArray[np.bool_]:
    """Which elements are the same numbers."""
    x, y, _ = common(a, b)
    return np.asarray(x == y, bool)


def least(a: Rational, b: Rational, sign: int = 1) -> Rational:
    """The lesser of two, or with sign -1 the greater."""
    x, y, unit = common(a, b)
    return Rational(np.minimum(x, y) if sign > 0 else np.maximum(x, y), unit, a.kind)


def moved(t: Rational, move: Callable[[Array], Array]) -> Rational:
    """After a numpy function that only moves values and leaves axis 0 alone; the units move along."""
    integers = move(t.integers)
    if t.unit.size == 1:
        return Rational(integers, t.unit.reshape((1,) * integers.ndim), t.kind)
    index = np.broadcast_to(np.arange(t.unit.size).reshape(t.unit.shape), (1, *t.shape))
    turned = move(np.ascontiguousarray(index))
    for axis in range(turned.ndim):
        first = turned.take([0], axis)
        if turned.shape[axis] > 1 and (turned == first).all():
            turned = first
    return Rational(integers, t.unit.ravel()[turned], t.kind)


def bordered(integers: Array, widths: Sequence[tuple[int, int]], value: int = 0) -> Array:
    """With a constant around it; numpy's own `pad` would put numpy's bounded integers into an object array."""
    made = np.full([before + size + after for size, (before, after) in zip(integers.shape, widths, strict=True)], value,
                   integers.dtype)
    made[tuple(slice(before, before + size) for size, (before, _) in zip(integers.shape, widths, strict=True))] = integers
    return made


def stacked(parts: list[Rational], axis: int) -> Rational:
    """Joined along an axis of the array."""
    samples = max(len(one.integers) for one in parts)
    integers = np.concatenate([np.broadcast_to(one.integers, (samples, *one.shape)) for one in parts], axis)
    sizes = [max(one.unit.shape[i] for one in parts) for i in range(integers.ndim)]
    alike = all(one.unit.size == 1 and one.unit.item() == parts[0].unit.item() for one in parts)
    if alike:
        return Rational(compact(integers), parts[0].unit, parts[0].kind)
    spread = []
    for one in parts:
        sizes[axis] = one.integers.shape[axis]
        spread.append(np.broadcast_to(one.unit, sizes))
    return Rational(compact(integers), np.concatenate(spread, axis), parts[0].kind)
