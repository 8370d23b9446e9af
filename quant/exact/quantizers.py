"""Quantizers and roundings, each as its operator's documentation defines it."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from .rational import (
    LIMIT,
    Array,
    ExactError,
    Rational,
    Units,
    add,
    broadcast,
    compact,
    each,
    magnitude,
    moved,
    multiply,
    objects,
    scaled,
    times,
    units,
    whole,
)

#: ONNX type -> least and greatest integer.
TYPES = {f"{sign}int{bits}": (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
         for sign in ("", "u") for bits in (2, 4, 8, 16, 32, 64)}


def _halves(up: Callable[[Array, Array], Array]) -> Callable[[Array, Array, Array, Array], Array]:
    """Round to the nearest integer; `up` says of floor and sign whether a tie goes up."""
    def function(floor: Array, rest: Array, divisor: Array, sign: Array) -> Array:
        twice = rest * 2
        return np.asarray(floor + (twice > divisor) + ((twice == divisor) & up(floor, sign)))
    return function


#: Rounding mode -> integer from (floor, rest, divisor, sign of the number).
_MODES: dict[str, Callable[[Array, Array, Array, Array], Array]] = {
    "ROUND": _halves(lambda floor, sign: floor % 2 == 1),
    "HALF_EVEN": _halves(lambda floor, sign: floor % 2 == 1),
    "HALF_UP": _halves(lambda floor, sign: sign > 0),  # away from zero
    "HALF_DOWN": _halves(lambda floor, sign: sign < 0),  # towards zero
    "FLOOR": lambda floor, rest, divisor, sign: floor,
    "CEIL": lambda floor, rest, divisor, sign: floor + (rest > 0),
    "UP": lambda floor, rest, divisor, sign: floor + ((rest > 0) & (sign > 0)),  # away from zero
    "DOWN": lambda floor, rest, divisor, sign: floor + ((rest > 0) & (sign < 0)),  # towards zero
    "ROUND_TO_ZERO": lambda floor, rest, divisor, sign: floor + ((rest > 0) & (sign < 0)),
}


def rounded(t: Rational, mode: str) -> Array:
    """Each number as an integer.

    Raises
    ------
    ExactError
        If there is no such mode.
    """
    if mode.upper() not in _MODES:
        raise ExactError(f"has rounding mode '{mode[:40]}', which is unknown")
    above = each(lambda one: one.numerator, t.unit)
    below = each(lambda one: one.denominator, t.unit)
    numerators = times(t.integers, above)
    if numerators.dtype != object and magnitude(below) < 2**61:
        below = below.astype(np.int64)
    else:
        numerators = numerators.astype(object)
    floor = np.asarray(numerators // below)
    rest = np.asarray(numerators - floor * below)
    return compact(objects(_MODES[mode.upper()](floor, rest, below, numerators))
                   if numerators.dtype == object else _MODES[mode.upper()](floor, rest, below, numerators))


def positive(scale: Rational) -> Units:
    """A scale as fractions.  Raises ExactError if it holds 0."""
    values = scale.fractions()
    if (values == 0).any():
        raise ExactError("has a scale of 0")
    return values


def quant(x: Rational, scale: Rational, zero: Rational, bits: Rational, *, signed: bool, narrow: bool, mode: str) -> Rational:
    """QONNX Quant: divide, add the zero point, clamp, round, subtract the zero point, multiply.

    One-bit signed is the sign, with 0 to +1.
    """
    steps = positive(scale)
    v = add(scaled(x, each(lambda one: 1 / Fraction(one), steps)), zero)
    width = objects(bits.numbers()).reshape(bits.integers.shape)
    v, other = broadcast(v, Rational(width, units(Fraction(1), width.ndim)))
    width = other.integers
    low = each(lambda one: -(2 ** (one - 1)) + narrow if signed else 0, width)
    high = each(lambda one: 2 ** (one - 1) - 1 if signed else 2**one - 1 - narrow, width)
    # Rounding leaves integers alone and keeps the order, so the clamp may as well come second.
    level = np.minimum(np.maximum(rounded(v, mode), low), high)
    if signed:
        level = np.where(width == 1, np.where(v.integers >= 0, 1, -1), level)
    return scaled(add(whole(level), zero, -1), steps)


def bipolar(x: Rational, scale: Rational) -> Rational:
    """+1 where x >= 0, else -1, times the scale."""
    return multiply(whole(np.where(x.integers >= 0, 1, -1)), scale)


def trunc(x: Rational, inputs: list[Rational], *, signed: bool, narrow: bool, mode: str) -> Rational:
    """QONNX Trunc: to the grid (half to even), divided by a power of two, rounded; version 2 clamps and has its own scale."""
    scale, zero = inputs[:2]
    grid = whole(rounded(add(scaled(x, each(lambda one: 1 / Fraction(one), positive(scale))), zero), "ROUND"))
    if len(inputs) == 4:  # version 1: input bits, output bits
        shift = int(inputs[2].numbers()[0]) - int(inputs[3].numbers()[0])
        level = rounded(scaled(grid, units(Fraction(1, 2) ** shift, grid.integers.ndim)), mode)
        return multiply(add(whole(level), zero, -1), scale)
    out_scale, bits = inputs[3], int(inputs[4].numbers()[0])
    power = each(lambda out, own: Fraction(2) ** round(math.log2(out / own)), out_scale.fractions(), scale.fractions())
    shrunk = scaled(grid, each(lambda one: 1 / one, power))
    low, high = (-(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1 - narrow)
    level = np.clip(rounded(shrunk, mode), low, high)
    return multiply(add(whole(level), scaled(zero, each(lambda one: 1 / one, power)), -1), out_scale)


def multithreshold(x: Rational, table: Rational, axis: int, scale: Fraction, bias: Fraction) -> Rational:
    """How many of its channel's thresholds each number reaches, times a scale, plus a bias; axis counts from the samples."""
    rows = table.fractions()[0]
    channels = x.integers.shape[axis]
    if rows.shape[0] not in (1, channels):
        raise ExactError(f"has thresholds of shape {rows.shape} for {channels} channels")
    if any(size > 1 for i, size in enumerate(x.unit.shape) if i != axis):
        raise ExactError("compares numbers whose unit varies inside a channel")
    at = x.unit.reshape(-1)
    level = np.empty(x.integers.shape, np.int64)
    for channel in range(channels):
        own = at[channel if at.size > 1 else 0]
        row = sorted(math.ceil(one / own) for one in rows[channel if len(rows) > 1 else 0])
        place = (slice(None),) * axis + (channel,)
        values = x.integers[place]
        bounds: Array = np.array(row, object)
        if values.dtype != object:
            bounds = np.array([min(max(one, -(2**63) + 1), 2**63 - 1) for one in row], np.int64)
        level[place] = np.searchsorted(bounds, values, side="right")
    rank = x.integers.ndim
    made = scaled(whole(level), units(scale, rank))
    return add(made, whole(np.ones([1] * rank, np.int64), unit=abs(bias)), 1 if bias > 0 else -1) if bias else made


def per_axis(t: Rational, rank: int, axis: int) -> Rational:
    """A scalar or a vector along one axis of a tensor of `rank` (samples included; axis as in ONNX)."""
    if t.integers.size == 1:
        return moved(t, lambda values: values.reshape((len(values), *[1] * (rank - 1))))
    if len(t.shape) != 1:
        raise ExactError(f"has a scale or zero point of shape {t.shape}, of which only vectors are supported")
    axis = axis + rank - 1 if axis < 0 else axis
    return moved(t, lambda values: values.reshape([len(values), *(values.shape[1] if i == axis else 1 for i in range(rank - 1))]))


def quantize_linear(x: Rational, scale: Rational, zero: Rational | None, axis: int, kind: str) -> Rational:
    """ONNX QuantizeLinear: divide, round half to even, add the zero point, saturate."""
    if kind not in TYPES:
        raise ExactError(f"makes {kind}, which is no integer type")
    rank = x.integers.ndim
    level = rounded(scaled(x, each(lambda one: 1 / Fraction(one), positive(per_axis(scale, rank, axis)))), "ROUND")
    summed = whole(level) if zero is None else add(whole(level), per_axis(zero, rank, axis))
    low, high = (min(max(bound, -LIMIT), LIMIT) for bound in TYPES[kind])
    return whole(np.minimum(np.maximum(summed.integers, low), high), kind)


def dequantize_linear(x: Rational, scale: Rational, zero: Rational | None, axis: int) -> Rational:
    """ONNX DequantizeLinear: subtract the zero point, multiply."""
    rank = x.integers.ndim
    x = Rational(x.integers, x.unit)
    centred = x if zero is None else add(x, per_axis(zero, rank, axis), -1)
    return scaled(centred, positive(per_axis(scale, rank, axis)))


