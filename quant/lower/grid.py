"""Weights as integers: the coarsest grid per output channel on which every weight lies exactly.

A column of real weights, each an exact rational, is ``integers * unit`` with the greatest possible unit: the rational
gcd of the column, or of all columns that have the same quantization scale.  Quantized weights give their levels (or a
fraction of them); float weights give numbers of 24 bits and more, which is how unquantized layers are found.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from .errors import LoweringError
from .exact import ONE, ZERO, Array, Ints, Param, collapse, filled, objects, rational_gcd
from .tensors import Const

MAX_WEIGHT_BITS = 16
MAX_MAGNITUDES = 4


def columns(weights: Const, rows: Param) -> tuple[Ints, Param]:
    """Integers and units of ``rows[k, n] * weights[k, n]``.

    Parameters
    ----------
    weights : Const of shape (K, N)
    rows : Param of shape (K or 1, N or 1)
        What an integer of the input that meets weight (k, n) is worth.

    Returns
    -------
    (int64 (K, N), object array (N,) of positive Fractions)

    Raises
    ------
    LoweringError
        If an integer needs more than 16 bits.
    """
    scale = collapse(objects(weights.scale * rows))
    offset = collapse(objects(weights.offset * rows))
    if weights.base.dtype != object and scale.shape[0] == offset.shape[0] == 1 and all(one != 0 for one in scale[0]):
        return _aligned_columns(weights.base, scale[0], offset[0])
    depth, width = weights.shape
    exact = objects(weights.exact() * rows)
    integers, units = np.zeros((depth, width), np.int64), np.empty(width, object)
    for n in range(width):
        unit = rational_gcd(exact[:, n]) or ONE
        values = [int(value / unit) for value in exact[:, n]]
        _check(max(abs(value) for value in values))
        integers[:, n], units[n] = values, unit
    return integers, units


def _aligned_columns(base: Array, scale: Param, offset: Param) -> tuple[Ints, Param]:
    """The common case, on machine integers: one scale and one offset per column (length 1 or N)."""
    base, exponent = _whole(base)
    scales, offsets = (np.broadcast_to(values, (base.shape[1],)) for values in (scale, offset))
    units = np.empty(base.shape[1], object)
    integers = np.empty_like(base)
    for n in range(base.shape[1]):
        worth = Fraction(scales[n]) * Fraction(2) ** int(exponent[n])
        ratio = Fraction(offsets[n]) / worth
        if max(abs(ratio.numerator), ratio.denominator) * (int(np.abs(base[:, n]).max(initial=0)) + 1) >= 2**62:
            _check(2**62)
        integers[:, n] = (base[:, n] * ratio.denominator + ratio.numerator) * (1 if worth >= 0 else -1)
        units[n] = abs(worth) / ratio.denominator
    # Columns that share a unit are divided by one number, so that they share a scale behind the product, too.
    for unit in set(units):
        alike = units == unit
        common = int(np.gcd.reduce(integers[:, alike], axis=None)) or 1
        integers[:, alike] //= common
        units[alike] = unit * common or ONE
    _check(int(np.abs(integers).max(initial=0)))
    return integers, units


def _whole(base: Array) -> tuple[Ints, Ints]:
    """Numbers as integers times a power of two per column: ``base = integers * 2**exponent``."""
    none = np.zeros(base.shape[1], np.int64)
    if base.dtype.kind in "iub":
        return base.astype(np.int64), none
    values = base.astype(np.float64)
    if not np.isfinite(values).all():
        raise LoweringError(f"its weights hold {values[~np.isfinite(values)][0]}; every weight must be a finite number")
    mantissa, exponent = np.frexp(values)
    integers = np.ldexp(mantissa, 53).astype(np.int64)
    low = integers & -integers  # the lowest set bit, whose logarithm is the number of trailing zeros
    zeros = np.where(integers == 0, 0, np.rint(np.log2(np.maximum(low.astype(np.float64), 1)))).astype(np.int64)
    odd, power = integers >> zeros, exponent.astype(np.int64) - 53 + zeros
    least = np.where(odd == 0, np.iinfo(np.int64).max, power).min(axis=0)
    least = np.where(least == np.iinfo(np.int64).max, 0, least)
    shift = np.where(odd == 0, 0, power - least)
    if int((shift + np.ceil(np.log2(np.abs(odd) + 1.0))).max()) > 62:
        _check(2**62)
    return odd << shift, least


def magnitudes(weights: Const) -> list[Const] | None:
    """Weights (K, N) as a sum of weights in {-1, 0, +1} times one scale per column; None if that takes more than 4 parts.

    TTQ has two magnitudes per tensor, each any float: together they are on no grid of a few bits.
    """
    exact = weights.exact()
    found = [sorted({abs(value) for value in exact[:, n]} - {0}) for n in range(exact.shape[1])]
    count = max(map(len, found))
    if not 2 <= count <= MAX_MAGNITUDES or 2 * count >= len(exact):  # a few weights are few values whatever they are
        return None
    parts = []
    for k in range(count):
        chosen = objects([column[k] if k < len(column) else ONE for column in found])
        base = (exact == chosen).astype(np.int64) - (exact == objects(-chosen)).astype(np.int64)
        parts.append(Const(base, chosen.reshape(1, -1), filled(ZERO, 2)))
    return parts


def _check(largest: int) -> None:
    if largest >= 2**MAX_WEIGHT_BITS:
        raise LoweringError(f"it has float weights: as integers they would need {largest.bit_length() + 1} bits or more, and the "
                            f"limit is {MAX_WEIGHT_BITS}; quantize them with Quant or BipolarQuant")
