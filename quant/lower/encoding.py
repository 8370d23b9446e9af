"""Which integers stand for a quantizer's levels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from intir.types import IntType

from .exact import Param, objects


@dataclass(frozen=True)
class Levels:
    """Equally spaced levels ``q = lo + k * step``, k from 0 to count - 1."""

    lo: int
    step: int
    count: int


@dataclass(frozen=True)
class Encoding:
    """The integers of an output.

    Parameters
    ----------
    type : IntType
    per_level : Fraction
        How far the integer moves when q moves by 1.
    centred : bool
        True if integer 0 stands for real 0; else the integer is k.
    """

    type: IntType
    per_level: Fraction
    centred: bool

    def meaning(self, levels: Levels, scale: Param, offset: Param) -> tuple[Param, Param]:
        """Scale and offset of the integers, where ``q * scale + offset`` is what the level means."""
        if self.centred:
            return objects(scale / self.per_level), objects(scale * 0)
        return objects(scale * levels.step), objects(scale * levels.lo + offset)


def encoding(levels: Levels, scale: Param, offset: Param) -> Encoding:
    """Choose the integers that stand for levels that mean ``q * scale + offset``.

    Integers of which 0 means real 0 are preferred, for they keep bipolar, ternary and padded tensors simple; but not
    where they cost bits: an asymmetric unsigned quantizer keeps its 8 bits and gets an offset.
    """
    plain = Encoding(IntType(0, levels.count - 1), Fraction(1, levels.step), centred=False)
    ratios = {o / s for o, s in zip(*(array.ravel() for array in np.broadcast_arrays(offset, scale)), strict=True)}
    if len(ratios) != 1:
        return plain
    (ratio,) = ratios
    first, distance = levels.lo * ratio.denominator + ratio.numerator, levels.step * ratio.denominator
    common = math.gcd(first, distance)
    first, distance = first // common, distance // common
    last = first + distance * (levels.count - 1)
    if max(abs(first), abs(last)) >= 2**31:
        return plain
    kind = IntType(first, last, distance)
    if kind.bits > plain.type.bits or (kind.step > 1 and first != -last):
        return plain
    return Encoding(kind, Fraction(ratio.denominator, common), centred=True)
